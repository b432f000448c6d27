"""`run.py multitalk`: voices and picture as files of this machine, checked here before anything is sent."""

import base64

import numpy as np
import pytest
from PIL import Image

import run
from cli.outcome import Finished
from cli.results import files_of
from tests.worker.asking import settings
from tests.worker.small_media import write_video
from tests.worker.small_sounds import tone, write_sound

PNG, MP4 = b"\x89PNG\r\n\x1a\n" + b"p" * 50, b"\0\0\0\x18ftypisom" + b"v" * 100
PROMPT = ["--prompt", "Two people having a friendly conversation"]
FILES = ["--reference_image", "p.png", "--audio_1", "1.wav", *PROMPT]


class Place:
    """Takes a job down and answers it."""

    most_bytes = 10**7
    is_remote = False

    def __init__(self):
        self.asked = []
        self.settings = settings()

    def run(self, job_input, on_news, served=None):
        self.asked.append(job_input)
        video, preview = (base64.b64encode(content).decode() for content in (MP4, PNG))
        answer = {"success": True, "video_base64": video, "speakers_preview_base64": preview, "seed": 42, "windows": 1}
        return Finished("j1", answer, 0, 0)


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((640, 360), 80).convert("RGB").save("p.png")
    write_sound(tmp_path / "1.wav", tone(16000 * 5, 16000), 16000)
    write_sound(tmp_path / "2.mp3", tone(44100 * 2, 44100), 44100)
    made = Place()
    monkeypatch.setattr("cli.one_job.place_of", lambda *where: made)
    return made


def test_files_of_this_machine_go_as_base64(place, tmp_path):
    for flags in (FILES, [flag.replace("reference_image", "image").replace("_", "-") for flag in FILES]):
        assert run.main(["multitalk", *flags, "--audio_2", "2.mp3", "--fps", "25", "--turbo"]) == 0
    first, second = place.asked
    assert first == second
    names = {"reference_image": "p.png", "audio_1": "1.wav", "audio_2": "2.mp3"}
    assert first.keys() == {"operation", "prompt", "fps", "turbo", *names}
    for field, name in names.items():
        assert base64.b64decode(first[field]) == (tmp_path / name).read_bytes()


def test_addresses_and_keys_go_as_they_are(place):
    flags = ["--reference_image", "https://h/p.png", "--audio_1", "minio:in/1.wav", "--audio_2", "http://h/2.mp3"]
    boxes = ["--speakers", "[[0,0,300,360],[310,0,640,360]]"]
    assert run.main(["multitalk", *flags, *PROMPT, *boxes, "--audio_order", "together"]) == 0
    (asked,) = place.asked
    assert asked["reference_image_url"] == "https://h/p.png"
    assert asked["audio_1_minio_path"] == "in/1.wav"
    assert asked["audio_2_url"] == "http://h/2.mp3"
    assert asked["speakers"] == [[0, 0, 300, 360], [310, 0, 640, 360]]
    assert not {"reference_image", "audio_1", "audio_2"} & asked.keys()


def test_the_video_and_the_preview_are_kept(place, tmp_path, capsys):
    assert run.main(["multitalk", *FILES, "--output", "out/talk.mp4"]) == 0
    assert (tmp_path / "out" / "talk.mp4").read_bytes() == MP4
    assert (tmp_path / "out" / "talk_speakers.png").read_bytes() == PNG
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["out/talk.mp4", "out/talk_speakers.png"]
    assert files_of({"speakers_preview_path": "a.png", "video_path": "a.mp4"}) == ["a.mp4", "a.png"]


REFUSED = [
    (["--audio_1", "mute.mp4"], "no_sound", "--audio-1"),
    (["--audio_1", "silence.wav"], "no_voice", "--audio-1"),
    (["--audio_1", "p.png"], "sound_unreadable", "--audio-1"),
    (["--audio_1", "2.mp3"], "voice_too_short", "--audio-1"),
    (["--audio_2", "silence.wav"], "no_voice", "--audio-2"),
    (["--audio_1", "long.flac"], "audio_too_long", "--audio-1"),
    (["--audio_2", "2.mp3", "--speakers", "[[0,0,300,360],[310,0,641,360]]"], "invalid_value", "--speakers"),
    (["--audio_2", "2.mp3", "--speakers", "[[0,0,300,360],[100,0,400,360]]"], "speakers_overlap", "--speakers"),
]


@pytest.mark.parametrize(("flags", "code", "flag"), REFUSED)
def test_what_no_worker_would_take_is_not_sent(place, tmp_path, capsys, flags, code, flag):
    write_video(tmp_path / "mute.mp4")
    write_sound(tmp_path / "silence.wav", np.zeros(80000, np.float32), 16000)
    write_sound(tmp_path / "long.flac", tone(8000 * 181, 8000), 8000)
    assert run.main(["multitalk", *FILES, *flags]) == 2
    said = capsys.readouterr().err
    assert f"  code  {code}" in said
    assert f"  flag  {flag}" in said
    assert place.asked == []


def test_a_number_alone_is_no_flag(capsys):
    with pytest.raises(SystemExit):
        run.main(["multitalk", "--help"])
    said = capsys.readouterr().out
    assert "--audio-1 FILE|URL|minio:KEY" in said
    assert "--1 " not in said
    assert "one or two people in a picture talk" in " ".join(said.split())
