"""Whole multitalk jobs on real ComfyUI, weights tiny: one voice, two, both together; with a store and without."""

import base64
import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demo.sample import ASSETS
from demo.world import World
from worker.finished import Expected, check_mp4

from . import multitalk_world as made
from .job_world import Ended, JobWorld

pytestmark = pytest.mark.engine

LARGE = {"Wan model", "LoRA", "Text encoder", "VAE", "CLIP vision", "Audio encoder", "MultiTalk model", "Talk"}
"""Nodes that open a large file or use it."""
NO_STORE = {"MINIO_ENDPOINT": "", "MINIO_ACCESS_KEY": "", "MINIO_SECRET_KEY": "", "MINIO_BUCKET": ""}
IN_TIME = 900
"""Seconds for a job: a minute on two idle processors."""


@pytest.fixture(scope="module")
def storeless(models, tmp_path_factory) -> Iterator[JobWorld]:
    """A world whose worker has no store, and whose tiny SAM2 puts its masks into the boxes."""
    environment = {**NO_STORE, "TINY_MASKS_IN_BOXES": "1"}
    with World(tmp_path_factory.mktemp("storeless"), models, environment=environment) as world:
        jobs = JobWorld(world)
        jobs.wait_for_comfyui()
        yield jobs


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read()


def is_right(content: bytes, folder: Path, num_frames: int, fps: float) -> None:
    """finished.py accepts it: frames, rate, size, and sound of the same length."""
    (folder / "result.mp4").write_bytes(content)
    expected = Expected(*made.SIZE, fps, num_frames, has_audio=True)
    report = check_mp4(folder / "result.mp4", expected)
    assert report.ok, report.table()


def in_order(ended: Ended) -> bool:
    percents = [update["percent"] for update in ended.progress]
    return bool(percents) and percents == sorted(percents)


def tinted(preview: bytes) -> np.ndarray:
    """Where the preview differs from the picture as the model sees it: bool [464, 832]."""
    with Image.open(io.BytesIO(preview)) as drawn, Image.open(io.BytesIO(made.two_people())) as picture:
        assert (drawn.format, drawn.size) == ("PNG", made.SIZE)
        small = picture.convert("RGB").resize((832, 468), Image.Resampling.BILINEAR).crop((0, 2, 832, 466))
        return np.abs(np.asarray(drawn.convert("RGB"), int) - np.asarray(small, int)).max(2) > 24


def test_the_documents_request_makes_one_voice_talk_in_chained_windows(jobs, tmp_path):
    """seeds/003 word for word, with base64; only how much there is to do is less, and the operation is named."""
    fields = made.document(made.base64_of(made.two_people()), made.base64_of(made.voice(1, 0.4)))
    assert (fields["num_frames"], fields["seed"], fields["sampling_steps"]) == (100, 42, 20)
    ended = jobs.run({**fields, "operation": "multitalk", "num_frames": made.WINDOW, "sampling_steps": 2}, IN_TIME)
    answer = ended.answer
    assert (answer["seed"], answer["window_frames"], answer["windows"]) == (42, 5, 3)
    # 10 frames at the model's 25 a second are 0.4 s: 3 frames at the documented 8, and as much sound.
    is_right(get(answer["video_url"]), tmp_path, 3, 8)
    assert tinted(get(answer["speakers_preview_url"])).mean() < 0.1, "one speaker has a name and no mask"
    assert [speaker["voice"] for speaker in answer["speakers"]] == ["audio_1"]
    assert not [name for name in answer if name.endswith("_base64")]
    assert any(update["windows"] == 3 for update in ended.progress)
    assert in_order(ended)
    assert jobs.left_behind() == []


def test_two_voices_one_after_the_other_are_left_and_right(jobs, tmp_path):
    voices = {name: made.base64_of(made.voice(number, 0.42)) for number, name in ((1, "audio_1"), (2, "audio_2"))}
    job = made.brief(**voices, num_frames=24, fps=25, guidance_scale=1, audio_guidance_scale=1)
    ended = jobs.run(job, IN_TIME)
    answer = ended.answer
    assert (answer["window_frames"], answer["windows"]) == (21, 1)
    is_right(get(answer["video_url"]), tmp_path, 21, 25)
    assert answer["speakers"] == [{"voice": "audio_1", "place": "left"}, {"voice": "audio_2", "place": "right"}]
    seen = tinted(get(answer["speakers_preview_url"]))
    assert seen[150:300, 40:380].mean() > 0.8
    assert seen[150:300, 450:800].mean() > 0.8
    assert not {"SAM2", "Segment speakers"} & answer["timings"]["nodes"].keys()
    assert [model["name"] for model in answer["versions"]["models"] if len(model["sha256"] or "") != 64] == []
    assert in_order(ended)
    assert jobs.left_behind() == []


@pytest.mark.skipif(not made.SHARED.is_dir(), reason="the shared samples are not there")
def test_the_samples_speak_to_their_ends(jobs, tmp_path):
    """Both voices whole, one after the other: 44 and 77 frames, in 30 windows of 5."""
    voices = {f"audio_{number}": (made.SHARED / f"voice_{number}.wav").read_bytes() for number in (1, 2)}
    fields = {name: made.base64_of(sound) for name, sound in voices.items()}
    ended = jobs.run(made.brief(**fields, fps=25, guidance_scale=1, audio_guidance_scale=1), IN_TIME)
    assert ended.answer["windows"] == 30
    is_right(get(ended.answer["video_url"]), tmp_path, 121, 25)
    assert in_order(ended)
    assert jobs.left_behind() == []


def test_both_together_in_boxes_with_turbo_and_no_store(storeless, tmp_path):
    voices = {"audio_1": made.base64_of(made.voice(1, 0.52)), "audio_2": made.base64_of(made.voice(2, 0.45))}
    job = made.brief(**voices, audio_order="together", speakers=made.BOXES, turbo=True, num_frames=13, fps=12.5)
    del job["sampling_steps"]
    ended = storeless.run(job, IN_TIME)
    answer = ended.answer
    assert (answer["window_frames"], answer["windows"]) == (13, 1)
    # As long as the longer voice: 13 frames, 0.52 s.
    is_right(base64.b64decode(answer["video_base64"]), tmp_path, 7, 12.5)
    assert [speaker["place"] for speaker in answer["speakers"]] == made.BOXES
    seen = tinted(base64.b64decode(answer["speakers_preview_base64"]))
    assert seen[200:300, 150:300].mean() > 0.8, "the first box's oval"
    assert seen[250:330, 600:740].mean() > 0.8, "the second box's oval"
    assert seen[20:200, 455:500].mean() < 0.1, "nobody is between them"
    assert not [name for name in answer if name.endswith(("_url", "_key"))]
    assert "LoRA" in answer["timings"]["nodes"]
    assert in_order(ended)
    assert storeless.left_behind() == []


def test_points_reach_the_model_as_masks_of_their_own(storeless):
    """Stopped when the sampling begins: by then both masks have been found apart."""
    voices = {"audio_2": made.base64_of(made.voice(2, 0.5))}
    job_id = storeless.send(made.brief(**voices, audio_order="together", speakers=made.POINTS, seed=9))
    storeless.wait_for_node(job_id, "Talk", IN_TIME)
    storeless.client.cancel(job_id)
    assert storeless.follow(job_id).state == "CANCELLED"


SEEN_LATE: dict[str, tuple[dict[str, Any], str, str]] = {
    "a picture with nobody": ({"reference_image": made.grey}, "no_person", "reference_image"),
    "two voices and one person": (
        {"reference_image": made.one_person, "audio_2": lambda: made.voice(2, 0.5)},
        "one_person",
        "reference_image",
    ),
    "silence": ({"audio_1": lambda: made.silence(1)}, "no_voice", "audio_1"),
}


@pytest.mark.parametrize("name", SEEN_LATE)
def test_what_only_the_nodes_can_see_is_said_before_a_large_model_is_opened(jobs, name):
    jobs.forget_results()
    change, code, field = SEEN_LATE[name]
    ended = jobs.run(made.brief(**{key: made.base64_of(make()) for key, make in change.items()}))
    assert (ended.error["code"], ended.error["field"]) == (code, field), ended.error
    assert ended.error["hint"]
    assert not ended.status["output"]["timings"]["nodes"].keys() & LARGE
    assert jobs.left_behind() == []


def silent_film() -> bytes:
    """The driving video without its sound."""
    import av

    made_of = io.BytesIO()
    with av.open(str(ASSETS / "driving.mp4")) as source, av.open(made_of, "w", format="mp4") as target:
        (video,) = source.streams.video
        stream = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return made_of.getvalue()


def two(**fields: Any) -> dict[str, Any]:
    return {"audio_2": made.base64_of(made.voice(2, 0.5)), **fields}


BY_FAR_ONE = [[0, 18, 1372, 1440], [100, 100, 1300, 1400]]
REFUSED: dict[str, tuple[Any, str, str]] = {
    "shorter than a window": (lambda: {"num_frames": 100}, "voice_too_short", "audio_1"),
    "a video without sound": (lambda: {"audio_1": made.base64_of(silent_film())}, "no_sound", "audio_1"),
    "not a sound": (lambda: {"audio_1": made.base64_of(b"nothing to hear" * 9)}, "sound_unreadable", "audio_1"),
    "longer than the limit": (lambda: {"audio_1": made.base64_of(made.silence(700))}, "audio_too_long", "audio_1"),
    "boxes that overlap by more than half": (lambda: two(speakers=BY_FAR_ONE), "speakers_overlap", "speakers"),
    "a box outside": (lambda: two(speakers=[*made.BOXES[:1], [1500, 0, 2600, 900]]), "invalid_value", "speakers"),
    "one box for two voices": (lambda: two(speakers=made.BOXES[:1]), "invalid_value", "speakers"),
    "too many frames": (lambda: {"num_frames": 202}, "invalid_value", "num_frames"),
    "no voice": (lambda: {"audio_1": None}, "missing_field", "audio_1"),
    "no picture": (lambda: {"reference_image": "????"}, "not_an_image", "reference_image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_refused_never_reaches_comfyui(jobs, name):
    change, code, field = REFUSED[name]
    before = jobs.prompts()
    error = jobs.run({**made.brief(), **change()}).error
    assert error["code"] == code, error
    assert (error["field"] or "").startswith(field), error
    assert error["hint"]
    assert len(json.dumps(error)) < 2000
    assert jobs.prompts() == before
    assert jobs.left_behind() == []
