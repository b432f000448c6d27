"""worker/jobs.py: one job from its request to its answer, on the stand-in ComfyUI and a real S3 store.

Every test ends with the same question: is anything of the job left on the disk?
"""

import urllib.request

import av
import pytest

from worker.jobs import seed_of

from .standin_jobs import GOOD

pytestmark = pytest.mark.store


def test_a_good_job_is_answered_with_everything_the_contract_names(run, worker, s3, bucket):
    updates = []
    answer = run(
        {**GOOD, "operation": "avatar", "user_id": "u", "avatar_id": "a.1", "seed": 7}, "job-7", updates.append
    )
    assert answer["success"], answer
    assert (answer["operation"], answer["seed"]) == ("avatar", 7)
    assert answer["minio_key"] == "avatar/u/a.1/job-7.mp4"
    assert (answer["width"], answer["height"], answer["fps"], answer["num_frames"]) == (128, 96, 12, 18)
    assert answer["duration_seconds"] == 1.5
    stored = s3.client().stat_object(bucket, answer["minio_key"])
    assert answer["video_size_bytes"] == stored.size
    with urllib.request.urlopen(answer["presigned_url"], timeout=5) as response:
        assert response.read(12)[4:8] == b"ftyp"
    assert answer["presigned_url_expires_at"].endswith("+00:00")
    assert {"check_request", "fetch", "wait_for_comfyui", "generate", "check", "upload", "total"} <= set(
        answer["timings"]
    )
    assert answer["timings"]["nodes"]["Animate in windows"] > 0
    versions = answer["versions"]
    assert versions["graph_sha256"] == worker.operations["avatar"].graphs["avatar"].sha256
    assert versions["project"]["version"]
    assert {"name", "folder", "sha256", "why"} == set(versions["models"][0])  # not there: null, and why
    percents = [update.percent for update in updates]
    assert percents == sorted(percents)
    assert [update.n for update in updates] == list(range(1, len(updates) + 1))


def test_the_same_job_again_goes_to_the_same_place(run):
    first, second = run(GOOD, "again"), run({**GOOD, "presign": False}, "again")
    assert first["minio_key"] == second["minio_key"] == "avatar/again.mp4"
    assert first["seed"] == second["seed"] != seed_of("another"), "and with the same seed, drawn for this job"
    assert "presigned_url" not in second


def test_a_silent_video_another_rate_and_a_range(run, media):
    answer = run({**GOOD, "driving_video_path": "in/silent.mp4", "start_time": 0.2, "end_time": 1.0, "fps": 24})
    assert answer["success"], answer
    assert answer["num_frames"] == round(0.8 * 24)


def test_animate_mode_runs(run):
    assert run({**GOOD, "mode": "animate"})["success"]


def test_a_job_id_that_is_no_file_name_is_made_one(run):
    assert run(GOOD, "../../etc/passwd")["minio_key"] == "avatar/_.._etc_passwd.mp4"


BAD = [
    ("both pictures", {"input_image_url": "http://x/a.png"}, "conflicting_fields", "input_image_url"),
    ("no picture", {"input_image_minio_path": None}, "missing_field", "input_image_minio_path"),
    ("no such key", {"driving_video_path": "in/absent.mp4"}, "object_not_found", "driving_video_path"),
    ("text file", {"driving_video_path": "in/text.mp4"}, "not_a_video", "driving_video_path"),
    ("web page", {"driving_video_path": "in/page.mp4"}, "not_a_video", "driving_video_path"),
    ("picture as video", {"driving_video_path": "in/person.png"}, "not_a_video", "driving_video_path"),
    ("video as picture", {"input_image_minio_path": "in/driving.mp4"}, "not_an_image", "input_image_minio_path"),
    ("truncated", {"driving_video_path": "in/truncated.mp4"}, "video_unreadable", "driving_video_path"),
    ("one frame", {"driving_video_path": "in/one_frame.mp4"}, "video_too_short", "driving_video_path"),
    ("tiny picture", {"input_image_minio_path": "in/tiny.png"}, "picture_too_small", "input_image_minio_path"),
    ("end before start", {"start_time": 1.0, "end_time": 0.5}, "invalid_range", "end_time"),
    ("start outside", {"start_time": 60}, "range_outside_video", "start_time"),
    ("end outside", {"end_time": 60}, "range_outside_video", "end_time"),
    ("key leaves", {"driving_video_path": "../other/d.mp4"}, "key_outside_prefix", "driving_video_path"),
    ("loopback", {"input_image_minio_path": "-", "input_image_url": "http://127.0.0.1/a"}, "address_refused", None),
    ("metadata", {"driving_video_path": "-", "driving_video_url": "http://169.254.169.254/d"}, "address_refused", None),
    ("file url", {"driving_video_path": "-", "driving_video_url": "file:///etc/passwd"}, "address_refused", None),
    ("id with slash", {"user_id": "a/b"}, "invalid_id", "user_id"),
    ("id of dots", {"avatar_id": ".."}, "invalid_id", "avatar_id"),
    ("unknown field", {"widht": 64}, "unknown_field", "widht"),
    ("unknown operation", {"operation": "dance"}, "unknown_operation", "operation"),
]


@pytest.mark.parametrize(("what", "changes", "code", "field"), BAD, ids=[row[0] for row in BAD])
def test_bad_input_is_refused_before_the_graph_runs(run, worker, what, changes, code, field):
    job_input = {name: value for name, value in {**GOOD, **changes}.items() if value not in ("-", None)}
    answer = run(job_input)
    assert answer["success"] is False
    assert answer["error"]["code"] == code, answer["error"]
    if field:
        assert answer["error"]["field"] == field
    assert answer["error"]["field"]
    assert answer["error"]["hint"]
    assert "generate" not in answer["timings"]


@pytest.mark.parametrize("job_input", [None, [], "text"])
def test_an_input_that_is_no_object(run, job_input):
    assert run(job_input)["error"]["code"] == "missing_field"


def test_the_test_media_are_what_their_names_say(media):
    with av.open(str(media["driving.mp4"])) as container:
        assert len(container.streams.audio) == 1
