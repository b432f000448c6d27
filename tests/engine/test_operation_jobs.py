"""Whole i2v, animate and segment jobs on real ComfyUI, with a real photograph where there is one; weights tiny."""

import base64
import io
import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import run
from demo.sample import ASSETS
from worker.finished import Expected, check_mp4

from .job_world import Ended, JobWorld

pytestmark = pytest.mark.engine

PROCESSED = (576, 1024)
"""Of the photograph, which is upright."""
SHARED = Path(__file__).parents[3] / "shared" / "samples"
PHOTOGRAPH = next(path for path in (SHARED / "dancer.jpg", ASSETS / "person.png") if path.is_file())
I2V = {"operation": "i2v", "prompt": "she turns her head", "width": 96, "height": 64, "seed": 5}
BRIEF = {**I2V, "num_frames": 5, "num_inference_steps": 2}
SCENES = [{"prompt": "she looks up", "num_frames": 5}, {"prompt": "she smiles", "num_frames": 21, "seed": 77}]


def picture() -> str:
    """The photograph as base64."""
    return base64.b64encode(PHOTOGRAPH.read_bytes()).decode()


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.read()


def is_right(content: bytes, folder: Path, expected: Expected) -> None:
    """finished.py accepts it."""
    (folder / "result.mp4").write_bytes(content)
    report = check_mp4(folder / "result.mp4", expected)
    assert report.ok, report.table()


def own_store(jobs: JobWorld) -> dict[str, str]:
    """The `r2` of a request: this world's store, named by the caller."""
    s3 = jobs.world.environment
    return {
        "endpoint_url": f"http://{s3['MINIO_ENDPOINT']}",
        "access_key_id": s3["MINIO_ACCESS_KEY"],
        "secret_access_key": s3["MINIO_SECRET_KEY"],
        "bucket_name": s3["MINIO_BUCKET"],
    }


def in_order(ended: Ended) -> bool:
    percents = [update["percent"] for update in ended.progress]
    return percents == sorted(percents)


def test_i2v_answers_the_video_and_the_exact_last_frame(jobs, tmp_path):
    job_id = jobs.send({**BRIEF, "image_base64": picture(), "negative_prompt": "blurry", "fps": 16})
    ended = jobs.follow(job_id)
    answer = ended.answer
    video = base64.b64decode(answer["video_base64"])
    is_right(video, tmp_path, Expected(96, 64, 16, 5, has_audio=False))
    assert (answer["resolution"], answer["num_frames"], answer["fps"], answer["seed"]) == ("96x64", 5, 16, 5)
    assert answer["video_size_bytes"] == len(video)
    assert answer["inference_time_ms"] > 0
    last = decoded(answer["last_frame_base64"])
    assert (last.format, last.size, last.mode) == ("PNG", (96, 64), "RGB")
    assert (answer["video_r2_key"], answer["last_frame_r2_key"]) == (
        f"wan-i2v/results/{job_id}_video.mp4",
        f"wan-i2v/results/{job_id}_lastframe.png",
    )
    assert get(answer["video_url"]) == video
    assert get(answer["last_frame_url"]) == base64.b64decode(answer["last_frame_base64"])
    assert [model["name"] for model in answer["versions"]["models"] if len(model["sha256"] or "") != 64] == []
    assert in_order(ended)
    assert jobs.left_behind() == []


def test_turbo_runs_four_steps_with_the_loras(jobs, tmp_path):
    answer = jobs.run({**I2V, "image_base64": picture(), "num_frames": 5, "turbo": True}).answer
    is_right(base64.b64decode(answer["video_base64"]), tmp_path, Expected(96, 64, 16, 5, has_audio=False))
    assert {"High-noise LoRA", "Low-noise LoRA"} <= answer["timings"]["nodes"].keys()
    loras = [model["name"] for model in answer["versions"]["models"] if model["folder"] == "loras"]
    assert len(loras) == 2


def test_a_chain_whose_comfyui_dies_goes_on_after_the_last_finished_scene(jobs, tmp_path):
    # The second scene takes many seconds: long enough to be heard of and disturbed.
    slow = {"width": 256, "height": 192, "num_inference_steps": 60, "scenes": SCENES}
    request = {**I2V, **slow, "image_base64": picture()}
    del request["prompt"]
    job_id = jobs.send({**request, "seed": 6})
    jobs.wait_for_node(job_id, "High-noise steps (scene 2)")
    jobs.comfyui().kill()
    assert jobs.follow(job_id).error["code"] == "engine_crashed"
    again = jobs.run({**request, "seed": 6}).answer
    ran = again["timings"]["nodes"].keys()
    assert "High-noise steps (scene 2)" in ran
    assert "High-noise steps" not in ran, "the first scene was finished and is not made again"
    is_right(base64.b64decode(again["video_base64"]), tmp_path, Expected(256, 192, 16, 25, has_audio=False))
    assert [segment["seed"] for segment in again["segments"]] == [6, 77]
    assert [segment["num_frames"] for segment in again["segments"]] == [5, 21]
    assert not list((jobs.base / "user" / "comfy_motion" / "kept").glob("i2v-*")), (
        "what was kept is gone once the job has succeeded"
    )


def test_animate_moves_only_what_the_mask_allows(jobs, tmp_path):
    image = Image.open(PHOTOGRAPH).convert("RGB").resize((600, 400))
    mask = np.zeros((400, 600), np.uint8)
    mask[:, 300:] = 255
    for name, content in (("photo.png", image), ("mask.png", Image.fromarray(mask))):
        content.save(tmp_path / name)
        jobs.world.upload(tmp_path / name, f"in/{name}")
    client, bucket = jobs.world.s3.client(), jobs.world.bucket
    links = {name: client.presigned_get_object(bucket, f"in/{name}") for name in ("photo.png", "mask.png")}
    job = {"operation": "animate", "image_url": links["photo.png"], "mask_url": links["mask.png"]}
    job |= {"num_frames": 3, "num_inference_steps": 1, "seed": 3, "fps": 6, "motion_bucket_id": 100}
    ended = jobs.run(job)
    answer = ended.answer
    assert (answer["original_size"], answer["processed_size"]) == ([600, 400], [1024, 576])
    assert (answer["num_frames"], answer["fps"], answer["motion_bucket_id"]) == (3, 6, 100)
    assert answer["processing_time_seconds"] > 0
    is_right(get(answer["output_url"]), tmp_path, Expected(600, 400, 6, 3, has_audio=False))
    assert in_order(ended)
    assert jobs.left_behind() == []


def test_segment_answers_one_mask_a_box(jobs):
    with Image.open(PHOTOGRAPH) as photograph:
        width, height = photograph.size
    boxes = [[width // 4, height // 4, width // 2, height // 2], [0, 0, width // 3, height // 3]]
    job_id = jobs.send({"operation": "segment", "image_base64": picture(), "bboxes": boxes, "r2": own_store(jobs)})
    answer = jobs.follow(job_id).answer
    assert (answer["mask_count"], answer["image_size"]) == (2, [width, height])
    for mask in answer["masks"]:
        seen = Image.open(io.BytesIO(get(mask["url"])))
        assert (seen.format, seen.size, seen.mode) == ("PNG", (width, height), "L")
        inside = np.array(seen) > 0
        assert set(np.unique(seen)) <= {0, 255}
        assert isinstance(mask["score"], float)
        if mask["bbox"]:
            left, top, right, bottom = mask["bbox"]
            assert inside[top:bottom, left:right].any(0).all() or inside.any()
            inside[top:bottom, left:right] = False
            assert not inside.any(), "the box holds the whole mask"
    assert jobs.left_behind() == []


def test_a_requests_own_store_is_used_and_its_keys_are_nowhere(jobs):
    store = own_store(jobs)
    job_id = jobs.send({**BRIEF, "image_base64": picture(), "r2": store})
    ended = jobs.follow(job_id)
    assert get(ended.answer["video_url"])
    wrong = {**store, "secret_access_key": "a-secret-that-is-wrong-0123456789"}
    failed = jobs.run({**BRIEF, "seed": 8, "image_base64": picture(), "r2": wrong})
    assert failed.error["code"] == "store_denied"
    assert "MINIO" not in failed.error["hint"]
    texts: dict[str, Any] = {
        "answer": {key: value for key, value in ended.answer.items() if not key.endswith("_url")},
        "progress": ended.progress,
        "error": failed.status,
        "history": jobs.ask("/history"),
        "worker log": jobs.world.worker_log.read_text(errors="replace"),
        "ComfyUI log": [path.read_text(errors="replace") for path in (jobs.base / "user").glob("*.log")],
    }
    for name, found in texts.items():
        for secret in (store["secret_access_key"], wrong["secret_access_key"]):
            assert secret not in json.dumps(found), f"the secret is in the {name}"


def test_the_command_line_runs_each_operation_through_the_queue(jobs, tmp_path, capsys):
    url = ["--url", jobs.world.queue.url, "--image", str(PHOTOGRAPH), "--json"]
    runs = {
        "i2v": ["--prompt", "she waves", "--width", "96", "--height", "64", "--num-frames", "5", "--turbo"],
        "animate": ["--num-frames", "2", "--num-inference-steps", "1"],
        "segment": ["--bboxes", "[[40, 40, 200, 300], [60, 80, 300, 400]]"],
    }
    found: dict[str, Any] = {}
    for operation, flags in runs.items():
        output = tmp_path / ("masks" if operation == "segment" else f"{operation}.mp4")
        assert run.main([operation, *flags, *url, "--output", str(output)]) == 0, capsys.readouterr().err
        found[operation] = json.loads(capsys.readouterr().out)
    is_right((tmp_path / "i2v.mp4").read_bytes(), tmp_path, Expected(96, 64, 16, 5, has_audio=False))
    is_right((tmp_path / "animate.mp4").read_bytes(), tmp_path, Expected(*PROCESSED, 6, 2, has_audio=False))
    with Image.open(found["i2v"]["last_frame_path"]) as last, Image.open(PHOTOGRAPH) as photograph:
        assert last.size == (96, 64)
        with Image.open(found["segment"]["overlay_path"]) as overlay:
            assert overlay.size == photograph.size
    assert len(found["segment"]["masks"]) == 2


def box(*corners: int) -> dict[str, Any]:
    return {"operation": "segment", "bboxes": [list(corners)]}


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "80 frames": ({**BRIEF, "num_frames": 80}, "invalid_value", "num_frames"),
    "width 100": ({**BRIEF, "width": 100}, "invalid_value", "width"),
    "a prompt of 100 KB": ({**BRIEF, "prompt": "word " * 20_000}, "invalid_value", "prompt"),
    "no image": ({**BRIEF, "image_base64": base64.b64encode(b"nothing to see" * 9).decode()}, "not_an_image", ""),
    "not base64": ({**BRIEF, "image_base64": "????"}, "not_an_image", ""),
    "inside store": (
        {
            **BRIEF,
            "r2": {"endpoint_url": "http://127.0.0.1:9", "access_key_id": "a" * 20}
            | {"secret_access_key": "b" * 40, "bucket_name": "bucket"},
        },
        "address_refused",
        "r2.endpoint_url",
    ),
    "box outside": (box(10, 10, 90_000, 50), "invalid_value", "bboxes"),
    "empty box": (box(50, 50, 50, 80), "invalid_value", "bboxes"),
    "points without labels": ({"operation": "segment", "points": [[5, 5]]}, "missing_field", "point_labels"),
    "a mask of another size": ({"operation": "animate", "mask_base64": ""}, "mask_mismatch", "mask_base64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_never_reaches_comfyui(jobs, name):
    change, code, field = REFUSED[name]
    job = {"image_base64": picture(), **change}
    if "mask_base64" in change:
        png = io.BytesIO()
        Image.new("L", (64, 64), 255).save(png, "PNG")
        job["mask_base64"] = base64.b64encode(png.getvalue()).decode()
    before = jobs.prompts()
    error = jobs.run(job).error
    assert error["code"] == code, error
    assert (error["field"] or "").startswith(field or "image_base64")
    assert error["hint"]
    assert len(json.dumps(error)) < 2000
    assert jobs.prompts() == before
    assert jobs.left_behind() == []
