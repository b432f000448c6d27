"""worker/jobs.py and worker/delivery.py: where results go. Into the request's store, the worker's, or the answer."""

import base64
import json
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from worker.delivery import bytes_of, require_picture
from worker.errors import JobError
from worker.jobs import run_job
from worker.operations import Output

from .small_operation import GRAPH, Clip
from .standin_jobs import left_behind, make_worker

pytestmark = pytest.mark.store

CLIP = {"operation": "clip", "image_minio_path": "in/person.png"}
R2_BUCKET = "somebodys"


@pytest.fixture(scope="module")
def r2(s3):
    s3.make_bucket(R2_BUCKET)
    return {
        "endpoint_url": f"http://{s3.endpoint}",
        "access_key_id": s3.access_key,
        "secret_access_key": s3.secret_key,
        "bucket_name": R2_BUCKET,
    }


@pytest.fixture
def run_without_store(loop, worker, s3, bucket, media, tmp_path):
    """A worker that has no store; its inputs come as base64 and by presigned URL."""
    other = make_worker(s3, bucket, tmp_path, minio_endpoint="", allow_private_addresses=[s3.endpoint])
    other.engine, other.operations["clip"] = worker.engine, Clip()
    request = {
        "operation": "clip",
        "image_base64": base64.b64encode(media["person.png"].read_bytes()).decode(),
        "video_url": s3.client().presigned_get_object(bucket, "in/driving.mp4"),
    }

    def go(max_answer_bytes=None, **changes):
        job = {"id": "bare", "input": {**request, **changes}}
        answer = loop.wait(run_job(job, other, max_answer_bytes=max_answer_bytes))
        assert left_behind(worker) == []
        return answer

    return go


def names(s3, bucket, prefix="clip/"):
    return sorted(found.object_name for found in s3.client().list_objects(bucket, prefix))


def stored(s3, bucket, key):
    answer = s3.client().get_object(bucket, key)
    try:
        return answer.read()
    finally:
        answer.close()


def test_a_store_of_the_request_gets_the_results_and_the_workers_own_gives_the_inputs(run, s3, bucket, r2):
    answer = run({**CLIP, "r2": r2}, "theirs")
    assert answer["success"], answer
    assert names(s3, R2_BUCKET, "clip/theirs") == ["clip/theirs.mp4", "clip/theirs.png"]
    assert names(s3, bucket, "clip/theirs") == []
    assert (answer["video_key"], answer["still_key"]) == ("clip/theirs.mp4", "clip/theirs.png")
    for kind in ("video", "still"):
        data = stored(s3, R2_BUCKET, answer[f"{kind}_key"])
        assert base64.b64decode(answer[f"{kind}_base64"]) == data
        with urllib.request.urlopen(answer[f"{kind}_url"], timeout=5) as response:
            assert response.read() == data
            assert response.headers["Content-Type"] == {"video": "video/mp4", "still": "image/png"}[kind]
    left = datetime.fromisoformat(answer["urls_expire_at"]) - datetime.now(UTC)
    assert 23.9 < left.total_seconds() / 3600 <= 24


def test_the_answer_has_what_is_common_and_nothing_that_is_none(run, worker):
    answer = run(CLIP, "common")
    assert answer["success"], answer
    assert (answer["operation"], answer["width"], answer["num_frames"], answer["fps"]) == ("clip", 128, 18, 12)
    assert answer["video_size_bytes"] == len(base64.b64decode(answer["video_base64"]))
    assert answer["versions"]["graph_sha256"] == GRAPH.sha256
    assert not [name for name, value in answer.items() if value is None]
    assert {"seed", "base64_left_out", "prompt"} & answer.keys() == set()
    assert 0 < answer["generate_seconds"] <= answer["seconds"] < answer["timings"]["total"] + 0.1
    assert answer["said"] == {"Save MP4": {"animated": [True]}}


def test_a_node_that_only_the_bound_graph_has_is_known_by_its_title(run):
    assert "Save still (scene 2)" in run(CLIP, "scenes")["timings"]["nodes"]


def test_without_any_store_everything_comes_in_the_answer(run_without_store):
    answer = run_without_store(inline="without_store")
    assert answer["success"], answer
    assert base64.b64decode(answer["video_base64"])[4:8] == b"ftyp"
    assert base64.b64decode(answer["still_base64"])[1:4] == b"PNG"
    assert {"video_url", "still_url", "video_key", "urls_expire_at"} & answer.keys() == set()


def test_with_a_store_what_is_only_for_those_without_stays_out(run):
    answer = run({**CLIP, "inline": "without_store"})
    assert "video_base64" not in answer
    assert answer["video_url"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"inline": "never"}, None), ({"image_base64": None, "image_minio_path": "in/a.png"}, "image_minio_path")],
)
def test_what_needs_a_store_is_refused_before_anything_is_fetched(run_without_store, changes, field):
    answer = run_without_store(**changes)
    assert (answer["error"]["code"], answer["error"]["field"]) == ("no_store", field)
    assert "MINIO_ENDPOINT" in answer["error"]["message"]
    assert "fetch" not in answer["timings"]


@contextmanager
def sized(run, **request):
    """What an answer without any limit has, in bytes: (all of it, the video's part, the still's)."""
    answer = run({**CLIP, **request}, "sized")
    yield bytes_of(answer), len(answer["video_base64"]), len(answer["still_base64"])


def test_base64_is_left_out_where_it_would_pass_the_limit_and_the_answer_says_so(run):
    with sized(run) as (whole, video, still):
        assert video > 5 * still, "the test needs a video that is larger than the still"
        room = whole - video + 3000
    answer = run(CLIP, "tight", max_answer_bytes=room)
    assert answer["success"], answer
    assert "video_base64" not in answer
    assert answer["video_url"]
    assert base64.b64decode(answer["still_base64"])[1:4] == b"PNG", "what fits is still there"
    (entry,) = answer["base64_left_out"]
    assert (entry["file"], entry["bytes"]) == ("video", answer["video_size_bytes"])
    assert f"the platform takes {room / 1e6:g} MB" in entry["reason"]
    assert bytes_of(answer) <= room


def test_the_rest_of_the_answer_counts_too(run):
    """A limit that the files alone keep and that a long prompt in the answer breaks."""
    with sized(run) as (whole, _, _):
        roomy = whole + 3000
    assert "base64_left_out" not in run(CLIP, "roomy", max_answer_bytes=roomy)
    answer = run({**CLIP, "prompt": "ü" * 1500}, "long", max_answer_bytes=roomy)
    assert answer["base64_left_out"], "1500 times two bytes, as JSON six each, are more than 3000"
    assert bytes_of(answer) <= roomy


def test_an_answer_that_is_too_large_by_itself_is_none(run):
    assert run({**CLIP, "prompt": "x" * 20_000}, max_answer_bytes=10_000)["error"]["code"] == "answer_too_large"


def test_too_large_without_a_store_is_refused_with_what_to_do(run_without_store):
    error = run_without_store(max_answer_bytes=20_000)["error"]
    assert error["code"] == "answer_too_large"
    assert "video" in error["message"]
    assert "r2" in error["hint"]


def test_a_node_that_writes_less_than_was_wanted_is_no_success(run, monkeypatch):
    usual = Clip.outputs

    def two_stills(self, request, job_id):
        return {**usual(self, request, job_id), "still": Output("Save still", "image", ("a.png", "b.png"))}

    monkeypatch.setattr(Clip, "outputs", two_stills)
    error = run(CLIP)["error"]
    assert error["code"] == "no_output"
    assert '"Save still" named 1 .png files' in error["message"]


def test_a_damaged_picture_is_not_announced(tmp_path, media):
    require_picture(media["person.png"])
    whole = media["person.png"].read_bytes()
    for name, data in (
        ("cut", whole[: len(whole) // 2]),
        ("flipped", whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]),
    ):
        path = tmp_path / f"{name}.png"
        path.write_bytes(data)
        with pytest.raises(JobError, match="output_wrong") as caught:
            require_picture(path)
        assert path.name in caught.value.message


def test_an_r2_inside_the_network_is_refused_before_anything_is_fetched(run, r2):
    answer = run({**CLIP, "r2": {**r2, "endpoint_url": "http://127.0.0.1:9"}})
    assert (answer["error"]["code"], answer["error"]["field"]) == ("address_refused", "r2.endpoint_url")
    assert "fetch" not in answer["timings"]


def test_a_request_with_another_fault_does_not_even_ask_the_r2(run, r2):
    answer = run({**CLIP, "r2": {**r2, "endpoint_url": "http://127.0.0.1:9"}, "colour": "red"})
    assert answer["error"]["code"] == "unknown_field"
    assert "check_store" not in answer["timings"]
    assert json.dumps(answer).count("127.0.0.1") == 0
