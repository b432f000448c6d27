"""Jobs that cannot or must not end well, on real ComfyUI: refused inputs, a cancel, a ComfyUI that is killed."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from demo.sample import ASSETS

from .job_world import BRIEF, SAMPLE, JobWorld

pytestmark = pytest.mark.engine

ANIMATE = "Animate in windows"
LONG = {**BRIEF, "steps": 100}
"""Runs long enough to be disturbed, and hears of it: a node stops between two of its steps."""


def grey_video(frames: int = 12) -> bytes:
    """Frames of one grey, of the job's own proportions: bars at its sides would be something to see."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 256, 128, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((128, 256, 3), 128, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def put(jobs: JobWorld, folder, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return jobs.world.upload(folder / name, f"bad/{name}")


def test_nobody_in_the_driving_video_is_said_before_any_large_model_is_opened(jobs, tmp_path):
    jobs.forget_results()
    ended = jobs.run({**SAMPLE, "driving_video_path": put(jobs, tmp_path, "grey.mp4", grey_video())})
    assert (ended.error["code"], ended.error["field"]) == ("no_person", "driving_video_path")
    assert ended.error["hint"]
    nodes = ended.status["output"]["timings"]["nodes"]
    assert "Detect pose" in nodes
    assert not nodes.keys() & {
        "Wan Animate model",
        "Step-distilled LoRA",
        "Text encoder",
        "VAE",
        "CLIP vision",
        ANIMATE,
    }
    assert jobs.left_behind() == []


REFUSED = {
    "text named mp4": ({"driving_video_path": "bad/text.mp4"}, "not_a_video", "driving_video_path"),
    "truncated": ({"driving_video_path": "bad/cut.mp4"}, "video_unreadable", "driving_video_path"),
    "picture is a video": ({"input_image_minio_path": "in/driving.mp4"}, "not_an_image", "input_image_minio_path"),
    "no such object": ({"input_image_minio_path": "in/nobody.png"}, "object_not_found", "input_image_minio_path"),
    "two pictures": ({"input_image_url": "https://example.com/p.png"}, "conflicting_fields", "input_image_url"),
    "no picture": ({"input_image_minio_path": None}, "missing_field", "input_image_minio_path"),
    "end before start": ({"start_time": 0.5, "end_time": 0.25}, "invalid_range", "end_time"),
    "range outside": ({"start_time": 60}, "range_outside_video", "start_time"),
    "unknown field": ({"num_steps": 4}, "unknown_field", "num_steps"),
    "key with dots": ({"driving_video_path": "in/../../driving.mp4"}, "key_outside_prefix", "driving_video_path"),
    "inside address": (
        {"driving_video_path": None, "driving_video_url": "http://127.0.0.1:9/driving.mp4"},
        "address_refused",
        "driving_video_url",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_refused_never_reaches_comfyui(jobs, tmp_path, name):
    put(jobs, tmp_path, "text.mp4", b"this is no video\n" * 50)
    whole = (ASSETS / "driving.mp4").read_bytes()
    put(jobs, tmp_path, "cut.mp4", whole[: len(whole) // 2])
    before = jobs.prompts()
    change, code, field = REFUSED[name]
    ended = jobs.run({**SAMPLE, **change})
    assert (ended.error["code"], ended.error["field"]) == (code, field), ended.error
    assert ended.error["message"]
    assert ended.error["hint"]
    assert jobs.prompts() == before
    assert jobs.left_behind() == []


def test_a_cancelled_job_leaves_comfyui_within_seconds_and_nothing_behind(jobs):
    before = jobs.prompts()
    job_id = jobs.send(LONG)
    jobs.wait_for_node(job_id, ANIMATE)
    (prompt_id,) = jobs.prompts() - before
    assert [path.name for path in jobs.left_behind()].count(prompt_id) >= 2, "inputs and scratch files, in mid-job"
    jobs.client.cancel(job_id)
    assert jobs.follow(job_id).state == "CANCELLED"
    jobs.wait_until(lambda: jobs.ask(f"/api/jobs/{prompt_id}")["status"] == "cancelled", "the prompt is cancelled", 10)
    jobs.wait_until(lambda: not jobs.left_behind(), "the job's files are gone", 10)
    assert jobs.run(BRIEF).answer["num_frames"] == 6


def test_a_killed_comfyui_fails_its_job_and_the_next_one_works(jobs):
    job_id = jobs.send(LONG)
    jobs.wait_for_node(job_id, ANIMATE)
    killed = jobs.comfyui()
    killed.kill()
    error = jobs.follow(job_id).error
    assert error["code"] == "engine_crashed"
    assert "Its last log lines:" in error["message"]
    assert "got prompt" in error["message"], "ComfyUI's own words"
    assert jobs.left_behind() == []
    assert jobs.run(BRIEF).answer["num_frames"] == 6
    assert jobs.comfyui().pid != killed.pid
