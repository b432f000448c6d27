"""run.py over the local queue: from the command line to the files, and every way in which it comes to nothing."""

import json
import os
import signal
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

import run
from cli.client import EndpointClient
from demo.queue_server import QueueServer
from demo.standin.testcard import Card, write_test_card
from demo.world import World
from worker.finished import Expected, check_mp4

from .cli_world import answer_of, started

SIZE = ["--width", "128", "--height", "96", "--fps", "12"]
INPUTS = ["--image", "minio:in/person.png", "--video", "minio:in/driving.mp4"]
EXPECTED = Expected(width=128, height=96, fps=12.0, num_frames=18, has_audio=True)


@pytest.fixture(scope="module")
def world(s3, tmp_path_factory):
    folder, bucket = tmp_path_factory.mktemp("world"), "cli-run"
    s3.make_bucket(bucket)
    with World(folder, folder / "models", standin=True, s3=s3, bucket=bucket) as made:
        Image.fromarray(np.zeros((256, 192, 3), np.uint8)).save(folder / "person.png")
        write_test_card(folder / "driving.mp4", Card(128, 96, Fraction(12), 18, True))
        made.upload(folder / "person.png", "in/person.png")
        made.upload(folder / "driving.mp4", "in/driving.mp4")
        yield made


@pytest.fixture
def lonely():
    """A queue without a worker."""
    with QueueServer() as server:
        yield server


@pytest.fixture
def refused(lonely, capsys):
    """Run what should be refused here, before anything is sent; what was said."""

    def go(*arguments):
        try:
            code = run.main([*arguments, "--url", lonely.url])
        except SystemExit as ended:
            code = ended.code
        assert code == 2
        assert lonely.jobs._jobs == {}
        return capsys.readouterr().err

    return go


@pytest.mark.store
def test_a_job_over_the_queue_leaves_its_video_here(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    answer = answer_of(capsys, "avatar", "--url", world.queue.url, *INPUTS, *SIZE, "--seed", "7")
    (video,) = tmp_path.iterdir()
    assert video.name == f"avatar_{answer['minio_key'].removeprefix('avatar/')}"
    assert check_mp4(video, EXPECTED).ok
    assert (answer["video_path"], answer["seed"], answer["fps"]) == (video.name, 7, 12)


@pytest.mark.store
def test_for_people_files_on_stdout_and_progress_on_stderr(world, tmp_path, capsys):
    file = tmp_path / "out" / "clip.mp4"
    assert run.main(["avatar", "--url", world.queue.url, *INPUTS, *SIZE, "--output", str(file)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == str(file)
    assert "128x96, 18 frames, 12 a second" in said.out
    assert "COMPLETED" in said.err
    assert check_mp4(file, EXPECTED).ok


@pytest.mark.store
def test_an_answer_without_a_link_says_the_key(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main(["avatar", "--url", world.queue.url, *INPUTS, *SIZE, "--no-presign"]) == 0
    assert "in the store: avatar/" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.store
def test_a_failed_job_is_told_with_code_field_hint_and_flag(world, capsys):
    flags = ["avatar", "--url", world.queue.url, INPUTS[0], INPUTS[1], "--video", "minio:in/no.mp4", *SIZE]
    assert run.main(flags) == 1
    said = capsys.readouterr()
    for line in ("FAILED: ", "  code  object_not_found", "  field driving_video_path", "  hint  ", "  flag  --driving"):
        assert line in said.err
    assert said.out == ""
    assert run.main([*flags, "--json"]) == 1
    failed = json.loads(capsys.readouterr().out)
    assert (failed["success"], failed["error"]["code"]) == (False, "object_not_found")


@pytest.mark.store
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_the_job_on_the_queue(world, tmp_path, number):
    before = set(world.queue.jobs._jobs)
    child = started(["avatar", "--url", world.queue.url, *INPUTS, *SIZE, "--steps", "100"], 0.0, tmp_path)
    try:
        while "%" not in child.stderr.readline():
            assert child.poll() is None, child.communicate()
        os.kill(child.pid, number)
        out, err = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert out == ""
    assert "Stopped; the job was cancelled." in err
    assert "Traceback" not in err
    (new,) = set(world.queue.jobs._jobs) - before
    assert world.queue.jobs.get(new).status == "CANCELLED"


def test_ctrl_c_before_the_jobs_id_is_known_cancels_it_too(lonely, monkeypatch):
    client = EndpointClient(lonely.endpoint, lonely.url)
    submit = client.submit

    def interrupted(job_input):
        signal.raise_signal(signal.SIGINT)
        return submit(job_input)

    monkeypatch.setattr(client, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.run({"operation": "avatar"})
    (job,) = lonely.jobs._jobs.values()
    assert job.status == "CANCELLED"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_wrong_value_costs_nothing(refused):
    said = refused("avatar", *INPUTS, "--width", "100", "--height", "96")
    for line in ("FAILED: ", "  code  invalid_value", "  field width", "  flag  --width", "multiple of 16"):
        assert line in said
    assert "  flag  --input-image" in refused("avatar", "--video", "minio:a.mp4")


def test_what_a_workers_settings_may_fill_in_is_not_refused(lonely, capsys):
    """The driving video may come from that worker's DEFAULT_DRIVING_VIDEO_PATH."""
    assert run.main(["avatar", *INPUTS[:2], "--url", lonely.url, "--timeout", "0"]) == 1
    (job,) = lonely.jobs._jobs.values()
    assert job.input == {"operation": "avatar", "input_image_minio_path": "in/person.png"}
    # After --timeout the job is cancelled, so that nobody begins it any more.
    assert job.status == "CANCELLED"
    assert "was still IN_QUEUE" in capsys.readouterr().err


def test_a_picture_that_is_none_costs_nothing(refused, tmp_path):
    page = tmp_path / "photo.jpg"
    page.write_text("<!DOCTYPE html><html></html>")
    said = refused("i2v", "--image", str(page), "--prompt", "x")
    for line in ("not_an_image", "  flag  --image", "a web page"):
        assert line in said


def test_a_box_outside_the_picture_costs_nothing(refused, tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "p.png")
    said = refused("segment", "--image", str(tmp_path / "p.png"), "--box", "1,1,20,20", "--box", "10,10,90,50")
    for words in ("Box 2 of 2", "80x60 pixels", "  flag  --bboxes"):
        assert words in said


def test_a_file_too_large_for_the_platform_costs_nothing(refused, tmp_path):
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 255, (1700, 1700, 3), np.uint8)).save(tmp_path / "large.png")
    said = refused("i2v", "--image", str(tmp_path / "large.png"), "--prompt", "x")
    for words in ("too_large", "large.png has 8.7 MB", "minio:KEY", "  flag  --image"):
        assert words in said
    # Two files that fit alone and not together.
    Image.fromarray(rng.integers(0, 255, (1200, 1200, 3), np.uint8)).save(tmp_path / "half.png")
    half = str(tmp_path / "half.png")
    said = refused("animate", "--image", half, "--mask", half)
    assert "The request has 11.0 MiB; the platform takes 10 MiB" in said


def test_an_output_that_cannot_be_costs_nothing(refused, tmp_path):
    assert "the result is a file .mp4" in refused("avatar", *INPUTS, "--output", "clip.avi")


def test_what_cannot_be_asked_is_exit_code_2(capsys, monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    assert run.main(["avatar", *INPUTS, "--endpoint", "abc"]) == 2
    assert "RUNPOD_API_KEY is not set" in capsys.readouterr().err
    assert run.main(["avatar", *INPUTS, "--url", "http://127.0.0.1:9/v2"]) == 2
    assert "Is it running?" in capsys.readouterr().err
    assert run.main(["avatar", *INPUTS, "--url", "http://127.0.0.1:9/v2", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["success"] is False
