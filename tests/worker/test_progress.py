"""worker/progress.py: never falls, one update a second, numbered, and an ETA that means something."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from worker.progress import Progress

WEIGHTS = {"fetch": 5, "pose": 20, "sample": 70, "upload": 5}
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["start", "step", "done", "text"]),
        st.sampled_from([*WEIGHTS, "a node of no weight"]),
        st.integers(-3, 12),
        st.integers(0, 10),
        st.floats(0, 5),
    ),
    max_size=60,
)


@given(EVENTS)
def test_percent_never_falls_whatever_is_reported(events):
    now, progress, last, updates = 100.0, Progress(WEIGHTS, 100.0), 0, []
    for kind, stage, value, maximum, wait in events:
        now += wait
        match kind:
            case "start":
                progress.start(stage, now)
            case "step":
                progress.step(stage, value, maximum, now)
            case "done":
                progress.done(stage, now)
            case "text":
                progress.text(f"window {value} of {maximum}", now)
        assert last <= progress.percent <= 100
        last = progress.percent
        if update := progress.take(now):
            updates.append((now, update))
    for (earlier, a), (later, b) in itertools.pairwise(updates):
        assert later - earlier >= 1.0
        assert b.n == a.n + 1
        assert b.percent >= a.percent
        assert b.eta_seconds is None or b.eta_seconds >= 0


def test_one_hundred_is_reached_when_everything_is_done_and_not_before():
    progress = Progress(WEIGHTS, 0.0)
    for stage in ("fetch", "pose", "sample"):
        progress.done(stage, 1.0)
    assert progress.percent == 95
    progress.done("upload", 2.0)
    assert progress.percent == 100


def test_steps_count_by_the_stage_weight():
    progress = Progress(WEIGHTS, 0.0)
    progress.step("sample", 15, 30, 1.0)
    assert progress.percent == 35
    progress.step("sample", 3, 30, 2.0)  # reported out of order
    assert progress.percent == 35


def test_a_withheld_update_comes_later_with_the_newest_state():
    progress = Progress(WEIGHTS, 0.0)
    progress.start("fetch", 0.0)
    assert progress.take(0.0).n == 1
    progress.done("fetch", 0.2)
    progress.start("pose", 0.3)
    assert progress.take(0.9) is None
    update = progress.take(1.0)
    assert (update.n, update.percent, update.stage) == (2, 5, "pose")
    assert progress.take(5.0) is None  # no news


def test_window_n_of_m_is_read_from_the_node_and_stays_in_the_message():
    progress = Progress(WEIGHTS, 0.0)
    progress.start("Animate in windows", 0.0)
    progress.text("Window 2 of 5", 0.1)
    progress.step("Animate in windows", 1, 10, 0.2)
    update = progress.take(1.0)
    assert (update.window, update.windows) == (2, 5)
    assert update.message == "Animate in windows, window 2 of 5"


def test_eta_follows_the_rate_of_the_last_part():
    progress = Progress({"load": 50, "sample": 50}, 0.0)
    progress.start("load", 0.0)
    assert progress.eta(1.0) is None
    progress.done("load", 10.0)  # half of it in ten seconds, read from a cache
    for second in range(1, 61):  # then half a percent of the whole a second
        progress.step("sample", second, 100, 10.0 + second)
    assert abs(progress.eta(70.0) - 40) <= 2


def test_eta_grows_while_nothing_moves():
    progress = Progress({"sample": 1}, 0.0)
    for second in range(1, 11):
        progress.step("sample", second, 20, float(second))
    assert progress.eta(60.0) > progress.eta(10.0)
