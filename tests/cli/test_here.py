"""run.py in this process: ComfyUI (the stand-in) is started for the job and gone after it, however the job ends."""

import json
import re
import signal
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import run
from demo.standin.testcard import Card, write_test_card
from worker.finished import Expected, check_mp4

from .cli_world import answer_of, left_behind, started, use_standin

I2V = ["--prompt", "waves", "--num-frames", "9", "--width", "128", "--height", "96"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to run in, without a store, and a picture `p.png` of 64x64 pixels in it; the folder. ComfyUI is gone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORK_PATH", str(tmp_path / "work"))
    for name in ("MINIO_ENDPOINT", "MINIO_BUCKET", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    Image.new("RGB", (64, 64), (90, 90, 90)).save("p.png")
    use_standin(monkeypatch.setattr)
    yield tmp_path
    assert [one for one in psutil.Process().children() if str(tmp_path) in " ".join(one.cmdline())] == []


def names(folder: Path) -> set[str]:
    """The results: all files but the picture."""
    return {path.name for path in folder.iterdir() if path.is_file()} - {"p.png"}


def test_i2v_leaves_video_and_last_frame(here, capsys):
    answer = answer_of(capsys, "i2v", "--image", "p.png", *I2V, "--seed", "3")
    video, frame = Path(answer["video_path"]), Path(answer["last_frame_path"])
    assert names(here) == {video.name, frame.name}
    assert re.fullmatch(r"i2v_[\w-]+\.mp4", video.name)
    assert frame.name == f"{video.stem}_last_frame.png"
    assert check_mp4(video, Expected(128, 96, 16.0, 9, has_audio=False)).ok
    with Image.open(frame) as picture:
        picture.load()
    assert (answer["seed"], answer["resolution"]) == (3, "128x96")
    assert not [name for name in answer if name.endswith("_base64")]
    assert left_behind(here / "work") == []


def test_animate_leaves_a_video_where_it_is_wanted(here, capsys):
    flags = ["animate", "--image", "p.png", "--num-frames", "3", "--output", "out/clip"]
    assert run.main(flags) == 0, capsys.readouterr().err
    assert [path.name for path in (here / "out").iterdir()] == ["clip.mp4"]
    assert "out/clip.mp4" in capsys.readouterr().out


def test_segment_leaves_masks_and_the_picture_with_them(here, capsys):
    boxes = ["--box", "4,4,30,30", "--box", "20,20,60,60"]
    answer = answer_of(capsys, "segment", "--image", "p.png", *boxes, "--output", "masks/")
    stem = Path(answer["overlay_path"]).stem.removesuffix("_masks")
    assert names(here / "masks") == {f"{stem}_masks.png", f"{stem}_mask_1.png", f"{stem}_mask_2.png"}
    assert [one["bbox"] for one in answer["masks"]] == [[4, 4, 30, 30], [20, 20, 60, 60]]
    assert [Path(one["path"]).name for one in answer["masks"]] == [f"{stem}_mask_1.png", f"{stem}_mask_2.png"]
    with Image.open(answer["overlay_path"]) as picture:
        assert picture.size == (64, 64)
        assert np.asarray(picture).std() > 10  # more than the grey picture alone


@pytest.mark.store
def test_what_is_in_the_bucket_is_used_from_there(here, s3, bucket, monkeypatch, capsys):
    for name, value in s3.environment(bucket).items():
        monkeypatch.setenv(name, value)
    write_test_card(here / "driving.mp4", Card(128, 96, Fraction(12), 18, True))
    Image.new("RGB", (192, 256)).save(here / "person.png")
    for name in ("driving.mp4", "person.png", "p.png"):
        s3.client().fput_object(bucket, f"in/{name}", name)
    flags = ["--image", "minio:in/person.png", "--video", "minio:in/driving.mp4", "--width", "128", "--height", "96"]
    answer = answer_of(capsys, "avatar", *flags, "--fps", "12")
    assert check_mp4(Path(answer["video_path"]), Expected(128, 96, 12.0, 18, has_audio=True)).ok
    assert answer["minio_key"].startswith("avatar/")
    flags = ["--image", "minio:in/p.png", "--point", "8,8", "--output", "m"]
    answer = answer_of(capsys, "segment", *flags)
    assert Path(answer["overlay_path"]).is_file()
    assert Path(answer["masks"][0]["path"]).is_file()


def test_a_job_that_fails_here_is_told_and_leaves_nothing(here, capsys):
    flags = ["i2v", "--image", "http://127.0.0.1:9/p.png", *I2V]
    assert run.main(flags) == 1
    said = capsys.readouterr()
    for line in ("FAILED: ", "  code  address_refused", "  field image_url", "  flag  --image"):
        assert line in said.err
    assert said.out == ""
    assert names(here) == set()
    assert left_behind(here / "work") == []


def test_why_a_job_failed_is_said_once(here):
    """As a process, because pytest puts its own log handlers in the place of ours."""
    for flags, times in (([], 1), (["--verbose"], 2)):
        child = started(["i2v", "--image", "http://127.0.0.1:9/p.png", *I2V, *flags], 0.0, here / "work")
        out, err = child.communicate(timeout=60)
        assert (child.returncode, out) == (1, "")
        assert err.count("address_refused") == times, err


def test_a_stores_secret_is_nowhere(here, monkeypatch, capsys, caplog):
    monkeypatch.setenv("R2_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("R2_BUCKET_NAME", "results")
    monkeypatch.setenv("R2_ACCESS_KEY_ID", "visible-to-nobody-1")
    monkeypatch.setenv("R2_SECRET_ACCESS_KEY", "visible-to-nobody-2")
    assert run.main(["i2v", "--image", "p.png", *I2V, "--r2", "--verbose", "--json"]) != 0
    said = capsys.readouterr()
    assert json.loads(said.out)["success"] is False
    assert "visible-to-nobody" not in said.out + said.err + caplog.text


def test_wrong_settings_and_no_comfyui_are_exit_code_2(here, monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_PORT", "x")
    assert run.main(["i2v", "--image", "p.png", *I2V]) == 2
    assert "COMFYUI_PORT" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setenv("COMFYUI_PATH", str(here / "nowhere"))
    monkeypatch.setenv("WORK_PATH", str(here / "work"))
    assert run.main(["i2v", "--image", "p.png", *I2V]) == 2
    assert "engine_not_found" in capsys.readouterr().err


def test_a_default_of_these_settings_counts_here(here, capsys):
    """Of this process the settings are known: what they do not fill in is missing."""
    assert run.main(["avatar", "--image", "minio:in/p.png"]) == 2
    assert "DEFAULT_DRIVING_VIDEO_PATH" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_job_and_comfyui(tmp_path, number):
    picture, work = tmp_path / "p.png", tmp_path / "work"
    Image.new("RGB", (64, 64)).save(picture)
    child = started(["i2v", "--image", str(picture), *I2V, "--output", str(tmp_path / "a.mp4")], 1.0, work)
    try:
        for line in child.stderr:
            if "steps" in line:  # a sampler is running
                break
        children = psutil.Process(child.pid).children(recursive=True)
        (comfyui,) = [one for one in children if "demo.standin" in one.cmdline()]
        child.send_signal(number)
        asked = time.monotonic()
        out, err = child.communicate(timeout=40)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert time.monotonic() - asked < 20
    assert out == ""
    assert "Stopped; the job was cancelled." in err
    assert "Traceback" not in err
    assert not comfyui.is_running()
    assert left_behind(work) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.png", "work"]
