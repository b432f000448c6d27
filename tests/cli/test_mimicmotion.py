"""`run.py --image photo.jpg --video dance.mp4`: the seed's command line, and the words of its progress."""

import io
import json

import pytest
from PIL import Image

import run
from cli.console import ProgressBar
from cli.outcome import Finished
from worker.operations import load_operations

PICTURE, VIDEO = "https://example.com/p.jpg", "minio:in/dance.mp4"
SEED_FLAGS = {
    ("num_frames", "48"): {"num_frames": 48},
    ("resolution", "384"): {"resolution": 384},
    ("steps", "15"): {"steps": 15},
    ("guidance_scale", "3.5"): {"guidance_scale": 3.5},
    ("noise_aug_strength", "0.1"): {"noise_aug_strength": 0.1},
    ("sample_stride", "1"): {"sample_stride": 1},
    ("fps", "24"): {"fps": 24.0},
    ("seed", "-7"): {"seed": -7},
    ("frames_overlap", "4"): {"frames_overlap": 4},
    ("start_time", "0"): {"start_time": 0.0},
    ("end_time", "30"): {"end_time": 30.0},
    ("no_auto_chunk",): {"auto_chunk": False},
}
"""Every flag of the seed's table: as it is typed, and what the request then has."""


class Place:
    """Takes a job down and answers it."""

    settings = None
    most_bytes = 10**6
    is_remote = True

    def __init__(self):
        self.asked = []

    def run(self, job_input, on_news, served=None):
        self.asked.append(job_input)
        return Finished("j1", {"success": True, "minio_key": "k", "seed": 42, "notes": ["The head is cut off."]}, 0, 0)


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = Place()
    monkeypatch.setattr("cli.one_job.place_of", lambda *where: made)
    return made


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        run.main(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("operation", [[], ["mimicmotion"]])
@pytest.mark.parametrize(("flag", "fields"), SEED_FLAGS.items(), ids=[name for name, *_ in SEED_FLAGS])
def test_a_flag_of_the_seed_in_both_spellings(place, operation, flag, fields):
    name, *value = flag
    for spelled in (name, name.replace("_", "-")):
        assert run.main([*operation, "--image", PICTURE, "--video", VIDEO, f"--{spelled}", *value]) == 0
    wanted = {"operation": "mimicmotion", "image_url": PICTURE, "video_minio_path": "in/dance.mp4", **fields}
    assert place.asked == [wanted, wanted]


def test_all_of_them_at_once_and_an_output(place, tmp_path):
    flags = [text for name, *value in SEED_FLAGS for text in (f"--{name}", *value)]
    assert run.main(["--image", PICTURE, "--video", VIDEO, *flags, "--output", str(tmp_path / "new" / "out.mp4")]) == 0
    (asked,) = place.asked
    every = {name: value for fields in SEED_FLAGS.values() for name, value in fields.items()}
    assert every.items() <= asked.items()
    media = {"image", "image_url", "image_minio_path", "video", "video_url", "video_minio_path", "r2"}
    assert set(every) == set(load_operations()["mimicmotion"].request.model_fields) - media
    assert (tmp_path / "new").is_dir()


def test_a_picture_goes_as_base64_into_the_bare_field(place, tmp_path):
    Image.new("RGB", (144, 256)).save(tmp_path / "p.png")
    assert run.main(["--image", "p.png", "--video", VIDEO, "--seed", "1"]) == 0
    (asked,) = place.asked
    assert asked["image"].startswith("iVBORw0KGgo")
    assert asked.keys() == {"operation", "image", "video_minio_path", "seed"}


def test_a_wrong_value_is_told_with_its_flag(place, capsys):
    assert run.main(["--image", PICTURE, "--video", VIDEO, "--resolution", "500"]) == 2
    said = capsys.readouterr().err
    assert "448 and 512" in said
    assert "  flag  --resolution" in said
    assert run.main(["--image", PICTURE]) == 2
    assert "  flag  --video" in capsys.readouterr().err
    assert place.asked == []


def test_notes_of_the_answer_are_said(place, capsys):
    assert run.main(["--image", PICTURE, "--video", VIDEO]) == 0
    assert capsys.readouterr().out.splitlines() == ["in the store: k", "seed 42", "The head is cut off."]
    assert run.main(["--image", PICTURE, "--video", VIDEO, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == ["The head is cut off."]


def test_help_is_of_all_operations_or_of_this_one(capsys):
    for arguments, words in ((["--help"], [*load_operations(), "OPERATION"]), (["--seed", "1", "--help"], ["--fps"])):
        with pytest.raises(SystemExit) as ended:
            run.main(arguments)
        assert ended.value.code == 0
        said = capsys.readouterr().out
        assert all(word in said for word in words)


def test_a_first_word_that_is_no_operation_is_an_error(place, capsys):
    assert "'mimicmotoin' is no operation; did you mean mimicmotion?" in refused(capsys, "mimicmotoin", "--seed", "1")
    assert "'xyz' is no operation; there are avatar, i2v" in refused(capsys, "xyz")
    assert "the operation comes first: run.py i2v" in refused(capsys, "--output", "x/", "i2v", "--image", PICTURE)
    assert "--sed is no flag of mimicmotion; did you mean --seed?" in refused(capsys, "--sed", "1")
    assert "OPERATION" in refused(capsys)
    assert place.asked == []


def test_its_windows_are_called_chunks():
    report = {"n": 1, "percent": 50, "message": "MimicMotion, window 2 of 6, step 3", "eta_seconds": 90}
    for name, word in (("mimicmotion", "chunk"), ("avatar", "window")):
        out = io.StringIO()
        ProgressBar(name, out=out).show({"status": "IN_PROGRESS", "output": report})
        assert f" 50 %  MimicMotion, {word} 2 of 6, step 3, about 90 s left" in out.getvalue()
