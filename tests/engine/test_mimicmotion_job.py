"""Whole mimicmotion jobs on real ComfyUI, weights tiny: the sound in time, chunks answered again, nobody refused."""

import base64
import io
import json
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

import run
from demo.sample import ASSETS
from worker.finished import Expected, check_mp4

from .job_world import JobWorld

pytestmark = pytest.mark.engine

SHARED = Path(__file__).parents[3] / "shared" / "samples"
PHOTOGRAPH = next(path for path in (SHARED / "dancer.jpg", ASSETS / "person.png") if path.is_file())
# 25 poses of the sample, 24 a second, in one chunk; the least of all that the contract allows.
BRIEF = {"operation": "mimicmotion", "video_minio_path": "in/driving.mp4", "sample_stride": 1, "num_frames": 26}
BRIEF |= {"resolution": 256, "steps": 10, "guidance_scale": 1.0}
DRIVING = SHARED / "driving.mp4"
SAMPLING = "MimicMotion"


def picture(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_dance_keeps_its_speed_and_sound_and_is_answered_again_from_its_chunks(jobs: JobWorld, tmp_path):
    job = {**BRIEF, "image": picture(PHOTOGRAPH)}
    first, second = jobs.run(job, 600), jobs.run(job, 600)
    videos = []
    for ended in (first, second):
        answer = ended.answer
        assert (answer["seed"], answer["num_poses"], answer["num_chunks"]) == (42, 25, 1)
        with urllib.request.urlopen(answer["video_url"], timeout=10) as response:
            videos.append(response.read())
        (tmp_path / "result.mp4").write_bytes(videos[-1])
        # 25 frames at 24 a second are 1.04 s: 16 frames at the documented 15, and as much sound.
        report = check_mp4(tmp_path / "result.mp4", Expected(256, 448, 15, 16, has_audio=True))
        assert report.ok, report.table()
        assert jobs.left_behind() == []
    assert videos[0] == videos[1]
    took = [ended.answer["timings"]["nodes"][SAMPLING] for ended in (first, second)]
    assert took[1] < took[0] / 5, took
    percents = [update["percent"] for update in first.progress]
    assert percents == sorted(percents)
    assert any(update["windows"] == 1 for update in first.progress)


@pytest.mark.skipif(not DRIVING.is_file(), reason="the shared samples are not there")
def test_the_dancer_and_the_driving_video_at_full_length_by_queue_and_by_run_py(
    jobs: JobWorld, tmp_path, capsys, monkeypatch
):
    """Two chunks of the documented stride: 82 poses of 6.84 s, as 103 frames at 15, with all of the sound."""
    settings = {"resolution": 256, "steps": 10, "guidance_scale": 1.0}
    key = jobs.world.upload(DRIVING, "in/full.mp4")
    job = {"operation": "mimicmotion", "image": picture(PHOTOGRAPH), "video_minio_path": key, **settings}
    answer = jobs.run(job, 1200).answer
    assert (answer["num_poses"], answer["num_chunks"]) == (82, 2)
    with urllib.request.urlopen(answer["video_url"], timeout=10) as response:
        by_queue = response.read()

    for name, value in jobs.world.environment.items():
        monkeypatch.setenv(name, value)
    output = tmp_path / "dance.mp4"
    flags = [item for name, value in settings.items() for item in (f"--{name}", str(value))]
    files = ["--image", str(PHOTOGRAPH), "--video", str(DRIVING), "--output", str(output)]
    assert run.main([*files, *flags, "--url", jobs.world.queue.url, "--json"]) == 0, capsys.readouterr().err
    again = json.loads(capsys.readouterr().out)
    report = check_mp4(output, Expected(256, 448, 15, 103, has_audio=True))
    assert report.ok, report.table()
    assert output.read_bytes() == by_queue
    took = [found["timings"]["nodes"][SAMPLING] for found in (answer, again)]
    assert took[1] < took[0] / 5, took


@pytest.mark.parametrize("field", ["image", "video"])
def test_nobody_in_one_of_the_two_is_said_before_a_large_model_is_opened(jobs: JobWorld, tmp_path, field):
    jobs.forget_results()
    job = {**BRIEF, "image": picture(PHOTOGRAPH)}
    if field == "image":
        png = io.BytesIO()
        Image.new("RGB", (256, 448), (128, 128, 128)).save(png, "PNG")
        job["image"] = base64.b64encode(png.getvalue()).decode()
    else:
        from .test_job_faults import grey_video

        (tmp_path / "grey.mp4").write_bytes(grey_video(25))
        job["video_minio_path"] = jobs.world.upload(tmp_path / "grey.mp4", "bad/grey.mp4")
    ended = jobs.run(job, 300)
    assert ended.error["code"] == "no_person", ended.error
    assert ended.error["field"] == ("image" if field == "image" else "video_minio_path")
    assert not ended.status["output"]["timings"]["nodes"].keys() & {"SVD model", "MimicMotion model", SAMPLING}


REFUSED = {
    "too few poses": ({"sample_stride": 2}, "video_too_short", "sample_stride"),
    "start after end": ({"start_time": 0.9, "end_time": 0.2}, "invalid_range", "end_time"),
    "outside": ({"start_time": 60}, "range_outside_video", "start_time"),
    "between the model's sizes": ({"resolution": 480}, "invalid_value", "resolution"),
    "no video": ({"video_minio_path": None}, "missing_field", "video"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_refused_never_reaches_comfyui(jobs: JobWorld, name):
    change, code, field = REFUSED[name]
    before = jobs.prompts()
    error = jobs.run({**BRIEF, "image": picture(PHOTOGRAPH), **change}).error
    assert (error["code"], error["field"]) == (code, field), error
    assert error["hint"]
    assert jobs.prompts() == before
