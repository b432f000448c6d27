"""worker/kept.py, and when a job's finished pieces stay: the same job may go on from them, or nobody will."""

import asyncio
import os
import time

import pytest

from worker.jobs import run_job
from worker.kept import STAYS_AFTER, Kept

from .standin_jobs import fault
from .test_jobs_trouble import deadline

CLIP = {"operation": "clip", "image_minio_path": "in/person.png", "kept": "clip-0123"}
HOUR = 3600.0


def pieces(kept: Kept, name: str = "clip-0123", hours_old: float = 0.0):
    """A finished piece as Keep Frames leaves it; its folder as old as that."""
    folder = kept.root / name
    (folder / "signature").mkdir(parents=True)
    (folder / "signature" / "frames.bin").write_bytes(b"frames")
    then = time.time() - hours_old * HOUR
    os.utime(folder, (then, then))
    return folder


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path, hours=24, job_timeout_s=1200)


def test_it_is_where_comfyuis_node_puts_it(kept, tmp_path):
    assert kept.root == tmp_path / "user" / "comfy_motion" / "kept"


def test_old_folders_are_swept_and_the_others_left(kept):
    folders = {hours: pieces(kept, f"clip-{hours}", hours) for hours in (0, 23, 25, 900)}
    (kept.root / "a file").write_text("of somebody")
    kept.sweep()
    assert {hours for hours, folder in folders.items() if folder.exists()} == {0, 23}
    assert (kept.root / "a file").exists()


def test_nothing_to_sweep_is_no_trouble(kept):
    kept.sweep()
    kept.hold("clip-0123")
    kept.let_go("clip-0123", "success")


@pytest.mark.parametrize(
    ("outcome", "hours", "left"), [("success", 24, True), ("cancelled", 24, False), ("success", 0, False)]
)
def test_pieces_that_answer_again_stay_after_success(tmp_path, outcome, hours, left):
    kept = Kept(tmp_path, hours, job_timeout_s=1200)
    folder = pieces(kept)
    kept.let_go("clip-0123", outcome, after_success=True)
    assert folder.exists() == left


def test_a_folder_in_use_counts_as_new_for_another_worker_on_the_same_volume(kept, tmp_path):
    folder = pieces(kept, hours_old=100)
    kept.hold("clip-0123")
    Kept(tmp_path, hours=24, job_timeout_s=1200).sweep()
    assert folder.exists()


def test_however_few_hours_none_is_removed_within_one_jobs_deadline(tmp_path):
    impatient = Kept(tmp_path, hours=0.01, job_timeout_s=2 * HOUR)
    young, old = pieces(impatient, "a", 1.9), pieces(impatient, "b", 2.1)
    impatient.sweep()
    assert (young.exists(), old.exists()) == (True, False)


@pytest.mark.parametrize("code", ["engine_crashed", "deadline_exceeded", "out_of_memory", "node_failed"])
def test_what_the_job_may_go_on_from_stays(kept, code):
    folder = pieces(kept)
    kept.let_go("clip-0123", code)
    assert (folder / "signature" / "frames.bin").exists()
    Kept(kept.root.parents[2], hours=0, job_timeout_s=1).let_go("clip-0123", code)
    assert not folder.exists(), "0 hours: nothing is kept"


@pytest.mark.parametrize("outcome", ["success", "cancelled", "not_an_image", "graph_rejected", "internal"])
def test_what_nobody_will_come_back_for_goes(kept, outcome):
    assert outcome not in STAYS_AFTER
    folder = pieces(kept)
    kept.let_go("clip-0123", outcome)
    assert not folder.exists()
    assert kept.root.exists()


@pytest.mark.parametrize("name", ["..", "a/b", "/a", "."])
def test_a_name_is_one_folder(kept, name):
    with pytest.raises(ValueError, match="no name"):
        kept.let_go(name, "success")


# Whole jobs


@pytest.mark.store
@pytest.mark.parametrize(
    ("kind", "stays"),
    [
        *[("crash", True), ("out_of_memory", True), ("node_error", True)],
        *[("motion_error=no_person", False), ("reject", False), (None, False)],
    ],
)
def test_after_a_job(run, worker, kind, stays):
    folder = pieces(worker.kept, hours_old=100)
    fault(worker, kind)
    answer = run(CLIP)
    assert answer["success"] is (kind is None)
    # A hundred hours old: had the job not taken hold of it, the sweep afterwards would have removed it.
    assert folder.exists() is stays
    assert run(CLIP)["success"], "ComfyUI is back"
    assert not folder.exists()


@pytest.mark.store
def test_a_job_refused_before_it_is_bound_touches_nothing(run, worker):
    folder = pieces(worker.kept)
    assert run({**CLIP, "image_minio_path": "in/absent.png"})["error"]["code"] == "object_not_found"
    assert folder.exists(), "it may be that of an earlier try"
    worker.kept.let_go("clip-0123", "success")


@pytest.mark.store
def test_after_the_deadline_they_stay_and_after_a_cancel_they_go(run, worker, loop):
    folder = pieces(worker.kept)
    fault(worker, "slow=5")
    with deadline(worker, 2.0):
        assert run(CLIP)["error"]["code"] == "deadline_exceeded"
    assert folder.exists()
    fault(worker, "slow=1")

    async def cancelled():
        started = asyncio.Event()
        job = run_job({"id": "c", "input": CLIP}, worker, lambda update: update.percent > 2 and started.set())
        task = asyncio.ensure_future(job)
        await asyncio.wait_for(started.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.wait(cancelled())
    assert not folder.exists()
    assert run(CLIP)["success"]
