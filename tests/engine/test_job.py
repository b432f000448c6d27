"""Whole jobs on real ComfyUI: store, queue, the SDK's own loop and the worker as in production, weights tiny."""

import urllib.request
from pathlib import Path

import pytest

from demo.sample import write_driving
from worker.find_comfyui import PINNED_VERSION
from worker.finished import Expected, check_mp4

from .job_world import BRIEF, SAMPLE, SMALL, Ended, JobWorld

pytestmark = pytest.mark.engine

SHARED = Path(__file__).parents[3] / "shared" / "samples"
ANSWER = {
    *("success", "operation", "seed", "timings", "versions", "minio_key", "presigned_url", "presigned_url_expires_at"),
    *("width", "height", "fps", "num_frames", "duration_seconds", "video_size_bytes"),
}
"""What contracts.md promises of an avatar job that succeeded."""
MASK_NODES = {"SAM2", "Track person", "Grow mask", "Background"}


def check(
    jobs: JobWorld, ended: Ended, folder: Path, num_frames: int, fps: float = 24, width: int = SMALL["width"]
) -> None:
    """The MP4 in the store is all that it should be, with sound, and the answer says so."""
    answer = ended.answer
    expected = Expected(width, SMALL["height"], fps, num_frames, has_audio=True)
    report = check_mp4(jobs.world.download(answer["minio_key"], folder / "result.mp4"), expected)
    assert report.ok, report.table()
    for name in ("width", "height", "fps", "num_frames", "duration_seconds", "video_size_bytes"):
        assert answer[name] == getattr(report, name), name
    percents = [update["percent"] for update in ended.progress]
    assert percents == sorted(percents)
    assert jobs.left_behind() == []


def test_a_job_is_answered_with_a_right_mp4_and_all_that_the_contract_names(jobs, tmp_path):
    job_id = jobs.send({**SAMPLE, "user_id": "somebody", "avatar_id": "an.avatar"})
    ended = jobs.follow(job_id)
    check(jobs, ended, tmp_path, num_frames=25)
    answer = ended.answer
    assert answer.keys() >= ANSWER
    assert (answer["success"], answer["operation"], answer["seed"]) == (True, "avatar", 1)
    assert answer["minio_key"] == f"avatar/somebody/an.avatar/{job_id}.mp4"
    with urllib.request.urlopen(answer["presigned_url"], timeout=10) as response:
        assert response.read() == (tmp_path / "result.mp4").read_bytes()
    assert ended.progress, "nobody was told of any progress"
    timings = answer["timings"]
    assert {"check_request", "fetch", "wait_for_comfyui", "generate", "check", "upload", "total"} <= timings.keys()
    assert timings["nodes"].keys() >= {*MASK_NODES, "Detect pose", "Animate in windows", "Save MP4"}
    versions = answer["versions"]
    assert versions["comfyui"]["version"] == PINNED_VERSION
    assert versions["project"]["version"]
    assert len(versions["graph_sha256"]) == 64
    assert [model["name"] for model in versions["models"] if len(model["sha256"] or "") != 64] == []


def test_animate_keeps_the_pictures_background_and_tracks_nobody(jobs, tmp_path):
    jobs.forget_results()
    ended = jobs.run({**BRIEF, "mode": "animate"})
    check(jobs, ended, tmp_path, num_frames=6)
    ran = ended.answer["timings"]["nodes"].keys()
    assert ran >= {"Wan Animate model", "Detect pose", "Face crop"}, "cached results hide what a graph needs"
    assert ran & MASK_NODES == set()


def test_a_range_at_another_rate_has_its_exact_frames_and_sound(jobs, tmp_path):
    ended = jobs.run({**SAMPLE, "start_time": 0.25, "end_time": 0.5, "fps": 30})
    check(jobs, ended, tmp_path, num_frames=8, fps=30)  # 7.5, halves go up


def test_a_video_of_three_windows_comes_out_at_full_length(jobs, tmp_path):
    """../shared/samples where it is: a real person filmed, 164 frames; else as long a film of the project's own."""
    picture, driving = SHARED / "avatar.jpeg", SHARED / "driving.mp4"
    if driving.is_file() and picture.is_file():
        image = jobs.world.upload(picture, "in/avatar.jpeg")
    else:
        image, driving = "in/person.png", tmp_path / "driving.mp4"
        write_driving(driving, 164)
    video = jobs.world.upload(driving, "in/full_length.mp4")
    inputs = {"input_image_minio_path": image, "driving_video_path": video}
    ended = jobs.run({**SAMPLE, **inputs, "width": 64}, timeout=580)
    check(jobs, ended, tmp_path, num_frames=164, width=64)
    windows = [(update["window"], update["windows"]) for update in ended.progress if update["window"]]
    assert windows == sorted(windows)
    assert set(windows) == {(1, 3), (2, 3), (3, 3)}
