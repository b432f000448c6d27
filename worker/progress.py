"""What a job has done so far, as one percentage that never falls.

A pure state machine: it is told what happened and when (seconds of any monotonic clock), and answers with
`Update`s. Each stage of the job (a graph node's title, or a stage of the worker's own) has a weight: its
share of the whole time as far as anyone knows beforehand. Stages may be reported in any order, more than
once, or not at all (a node that ComfyUI has in its cache): the percentage only ever rises.

RunPod's `progress_update` starts a thread a call and keeps no order, so updates are numbered (`n`) and at
most one a second is given out; whoever reads them drops a number lower than the last one seen.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIN_INTERVAL_S = 1.0
RATE_WINDOW_S = 30.0
"""The ETA comes from the rate of this last part: earlier stages say nothing about how fast sampling is."""
RATE_MIN_SPAN_S = 2.0
_WINDOW_TEXT = re.compile(r"window\s+(\d+)\s+of\s+(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Update:
    """One report. `percent` 0..100; `window`/`windows` count from 1; `eta_seconds` None while it is not known."""

    n: int
    percent: int
    stage: str
    message: str
    window: int | None
    windows: int | None
    eta_seconds: int | None
    elapsed_seconds: int

    def as_dict(self) -> dict[str, Any]:
        """The `output` of a job in progress, as `/status` shows it."""
        return dict(vars(self))


class Progress:
    """The state of one job's progress. `weights`: {stage: share}, in any unit; `now` is when the job began."""

    def __init__(self, weights: Mapping[str, float], now: float):
        self._weights = dict(weights)
        self._done: dict[str, float] = {}
        self._started = now
        self._stage = ""
        self._detail = ""
        self._window: tuple[int, int] | None = None
        self._fraction = 0.0
        self._samples: deque[tuple[float, float]] = deque([(now, 0.0)])
        self._numbered = 0
        self._last_given: float | None = None
        self._changed = False

    @property
    def percent(self) -> int:
        """0..100, never less than before."""
        return int(self._fraction * 100 + 1e-6)

    def start(self, stage: str, now: float, detail: str = "") -> None:
        """A stage has begun. A stage of no weight is named in the message and counts for nothing."""
        self._stage, self._detail = stage, detail
        self._move(stage, 0.0, now)

    def step(self, stage: str, value: float, maximum: float, now: float) -> None:
        """`value` of `maximum` parts of a stage are done."""
        if self._stage != stage:
            self._stage, self._detail = stage, ""
        self._move(stage, min(max(value / maximum, 0.0), 1.0) if maximum > 0 else 0.0, now)

    def done(self, stage: str, now: float) -> None:
        """A stage is over, or was never needed."""
        self._move(stage, 1.0, now)

    def text(self, text: str, now: float) -> None:
        """What a node says of itself. "window 2 of 5" is understood; anything else is shown as it is."""
        found = _WINDOW_TEXT.search(text)
        if found:
            self._window = (int(found[1]), int(found[2]))
        self._detail = "" if found else text.strip()[:200]
        self._changed = True

    def take(self, now: float) -> Update | None:
        """The next update if there is news and a second has passed since the last one, else None."""
        waited = self._last_given is None or now - self._last_given >= MIN_INTERVAL_S
        if not self._changed or not waited:
            return None
        self._changed, self._last_given = False, now
        self._numbered += 1
        window, windows = self._window or (None, None)
        elapsed = int(now - self._started)
        return Update(
            self._numbered, self.percent, self._stage, self._message(), window, windows, self.eta(now), elapsed
        )

    def eta(self, now: float) -> int | None:
        """Seconds to the end by the rate of the last part; None while that rate means nothing yet."""
        first_time, first = self._samples[0]
        span, gained = now - first_time, self._fraction - first
        if span < RATE_MIN_SPAN_S or gained <= 0:
            return None
        return round((1.0 - self._fraction) * span / gained)

    def _move(self, stage: str, part: float, now: float) -> None:
        self._changed = True
        if stage not in self._weights:
            return
        self._done[stage] = max(self._done.get(stage, 0.0), part)
        total = sum(self._weights.values())
        done = sum(self._weights[name] * part for name, part in self._done.items())
        self._fraction = min(done / total, 1.0) if total else 0.0
        self._samples.append((now, self._fraction))
        while len(self._samples) > 2 and now - self._samples[1][0] >= RATE_WINDOW_S:
            self._samples.popleft()

    def _message(self) -> str:
        parts = [self._stage or "Starting"]
        if self._window:
            parts.append("window {} of {}".format(*self._window))
        if self._detail:
            parts.append(self._detail)
        return ", ".join(parts)
