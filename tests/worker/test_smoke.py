"""smoke_test.py: passes on a right job, and says in words why it does not on any other."""

import io
import json
import re
import urllib.request
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import smoke_test
from cli.console import ProgressBar, line_for
from demo.acceptance import Summary, accept, percentiles
from demo.standin.testcard import Card, write_test_card
from demo.world import World

SIZE = {"width": 128, "height": 96, "fps": 12}
FIELDS = {"input_image_minio_path": "in/person.png", "driving_video_path": "in/driving.mp4", **SIZE}
FLAGS = ["--image-key", "in/person.png", "--video-key", "in/driving.mp4", "--width", "128", "--height", "96", "--fps"]
FLAGS = [*FLAGS, "12"]


@pytest.fixture(scope="module")
def world(s3, bucket, tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    with World(folder, folder / "models", standin=True, s3=s3, bucket=bucket) as made:
        Image.fromarray(np.zeros((256, 192, 3), np.uint8)).save(folder / "person.png")
        write_test_card(folder / "driving.mp4", Card(128, 96, Fraction(12), 18, True))
        made.upload(folder / "person.png", "in/person.png")
        made.upload(folder / "driving.mp4", "in/driving.mp4")
        yield made


@pytest.fixture
def store(world, monkeypatch):
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)


def run(world, capsys, *more):
    code = smoke_test.main(["--url", world.queue.url, *FLAGS, *more])
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.store
def test_a_right_job_passes_with_percentiles_and_one_cold_start(world, store, capsys):
    code, said = run(world, capsys, "--json", "--runs", "2")
    found = json.loads(said)
    assert code == 0, said
    assert (found["ok"], found["number_of_runs"], found["cold_starts"]) == (True, 2, 1)
    assert 0 < found["executionTime"]["p50"] <= found["executionTime"]["max"]
    names = {check["name"] for check in found["runs"][0]["report"]["checks"]}
    assert {"every frame decodes", "size", "frames", "frames a second", "length of sound", "not black", "key"} <= names
    assert "X-Amz-Signature" not in said


@pytest.mark.store
def test_the_report_for_people(world, store, capsys):
    code, said = run(world, capsys, "--end-time", "1.0")
    assert code == 0, said
    assert "PASSED" in said
    assert "WRONG" not in said
    assert "12" in next(line for line in said.splitlines() if " frames " in line)


@pytest.mark.store
def test_without_a_store_links_are_used(world, capsys, monkeypatch):
    monkeypatch.setenv("ALLOW_PRIVATE_ADDRESSES", world.s3.endpoint)
    url = world.s3.client().presigned_get_object(world.bucket, "in/driving.mp4")
    flags = ["--url", world.queue.url, "--image-key", "in/person.png", "--video-url", url, *FLAGS[4:]]
    assert smoke_test.main(flags) == 0, capsys.readouterr()
    assert "PASSED" in capsys.readouterr().out


@pytest.mark.store
def test_a_result_that_is_not_as_it_should_be_fails(world, store, tmp_path):
    finished = world.client.run({"operation": "avatar", **FIELDS}, timeout=60)
    write_test_card(tmp_path / "short.mp4", Card(128, 96, Fraction(12), 17, False))
    world.upload(tmp_path / "short.mp4", finished.output["minio_key"])
    outcome = accept(finished, FIELDS)
    wrong = {check.name for check in outcome.report.checks if not check.ok}
    assert {"frames", "sound streams", "answer: num_frames"} <= wrong
    assert not Summary.of([outcome]).ok
    assert "WRONG" in outcome.text()
    renamed = accept(finished, {**FIELDS, "user_id": "somebody"}).report
    assert [check.name for check in renamed.checks if not check.ok and check.name == "key"] == ["key"]


@pytest.mark.store
def test_a_job_that_has_ended_is_checked_and_none_is_sent(world, store, capsys):
    job = world.client.run({"operation": "avatar", **FIELDS, "seed": 7}, timeout=60).job_id
    before = world.keys("avatar/")
    code, said = run(world, capsys, "--job", job, "--seed", "7", "--json")
    (outcome,) = json.loads(said)["runs"]
    assert code == 0, said
    assert outcome["job_id"] == job
    assert world.keys("avatar/") == before
    names = [check["name"] for check in outcome["report"]["checks"]]
    assert "every frame decodes" in names
    assert "progress" not in names
    code, said = run(world, capsys, "--job", job, "--seed", "8", "--end-time", "1.0")
    assert code == 1
    wrong = [line.split("WRONG")[0] for line in said.splitlines() if "WRONG" in line and "answer: seed" in line]
    assert len(wrong) == 1, said


@pytest.mark.store
def test_a_job_that_cannot_be_checked_is_told(world, store, capsys):
    code, said = run(world, capsys, "--job", "no-such-job")
    assert code == 2
    assert "no such endpoint ('local') or job" in said
    failed = world.client.submit({"operation": "avatar", **FIELDS, "width": 100})
    world.client.follow(failed, 60)
    code, said = run(world, capsys, "--job", failed)
    assert code == 1
    assert "invalid_value" in said
    fault = json.dumps({"fault": "slow=1", "times": 1}).encode()
    standin = re.findall(r"ComfyUI started at (\S+),", world.worker_log.read_text())[-1]
    urllib.request.urlopen(f"{standin}/standin/fault", fault, timeout=5).close()
    running = world.client.submit({"operation": "avatar", **FIELDS})
    code, said = run(world, capsys, "--job", running)
    world.client.cancel(running)
    assert code == 2
    assert "has not ended yet" in said


@pytest.mark.store
def test_a_failed_job_is_told_with_code_field_and_hint(world, store, capsys):
    code, said = run(world, capsys, "--width", "100")
    assert code == 1
    for words in ("FAILED", "invalid_value", "width", "multiple of 16", "hint"):
        assert words in said
    assert json.loads(run(world, capsys, "--width", "100", "--json")[1])["error"]["code"] == "invalid_value"


@pytest.mark.store
def test_a_missing_object_is_told(world, store, capsys):
    code = smoke_test.main(["--url", world.queue.url, "--image-key", "in/person.png", "--video-key", "in/no.mp4"])
    assert code == 1
    assert "object_not_found" in capsys.readouterr().err


def test_what_cannot_even_be_asked_is_exit_code_2(capsys, monkeypatch):
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    for flags, words in (
        ([], "Say where to send the job"),
        (["--endpoint", "abc"], "RUNPOD_API_KEY is not set"),
        (["--url", "http://127.0.0.1:9/v2"], "Is it running?"),
    ):
        assert smoke_test.main([*FLAGS, *flags]) == 2
        assert words in capsys.readouterr().err


def test_only_given_fields_are_sent():
    args = smoke_test._arguments(["--image-url", "https://x/a.png", "--video-key", "d.mp4", "--start-time", "0.5"])
    assert smoke_test._job_input(args) == {
        "operation": "avatar",
        "input_image_url": "https://x/a.png",
        "driving_video_path": "d.mp4",
        "start_time": 0.5,
    }


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_percentiles_are_times_that_were_seen(values):
    found = percentiles(values)
    assert found["p50"] <= found["p90"] <= found["max"] == max(values)
    assert set(found.values()) <= set(values)
    assert sum(value <= found["p90"] for value in values) >= 0.9 * len(values)
    assert sum(value <= found["p50"] for value in values) >= 0.5 * len(values)


def test_the_bar_shows_progress_and_does_not_repeat_itself():
    out = io.StringIO()
    report = {"n": 1, "percent": 50, "message": "Animate in windows, window 2 of 4", "eta_seconds": 30}
    with ProgressBar(out=out) as bar:
        for status in ({"status": "IN_QUEUE"}, {"status": "IN_QUEUE"}, {"status": "IN_PROGRESS", "output": report}):
            bar.show(status)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "50 %  Animate in windows, window 2 of 4, about 30 s left" in lines[1]
    assert line_for({"status": "COMPLETED", "output": {"success": True}}) == "COMPLETED"
