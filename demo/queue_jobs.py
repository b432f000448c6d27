"""The jobs of the local queue: RunPod's states as a plain class, without HTTP and without a clock of its own.

What is copied from the platform, and where it was seen:
- ids end in `-u1`, those of /runsync begin with `sync-` (RunPod's operation reference);
- `delayTime` and `executionTime` in ms; a job's `policy` {executionTimeout, ttl} in ms;
- a result with a text `error` is FAILED and keeps its `output`; an `error` that is no text loses both and
  reads COMPLETED (runpod-python issue 299). A handler that returns a dict there would hide its failures,
  and must be seen to do so here;
- results are kept 30 minutes (/run) or one minute (/runsync).
"""

import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})
KEEP_S = {"run": 30 * 60, "runsync": 60}
DEFAULT_TTL_S = 24 * 3600


@dataclass
class Job:
    """One job. Times are seconds of the caller's clock."""

    id: str
    input: Any
    kind: str
    created: float
    execution_timeout: float
    ttl: float
    status: str = "IN_QUEUE"
    started: float | None = None
    ended: float | None = None
    worker: str | None = None
    output: Any = None
    error: str | None = None
    streamed: deque[Any] = field(default_factory=deque)

    def view(self) -> dict[str, Any]:
        """The answer of /status."""
        shown: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.started is not None:
            shown["delayTime"] = round((self.started - self.created) * 1000)
            if self.ended is not None:
                shown["executionTime"] = round((self.ended - self.started) * 1000)
            shown["workerId"] = self.worker
        if self.output is not None:
            shown["output"] = self.output
        if self.error is not None:
            shown["error"] = self.error
        return shown


class Jobs:
    """All jobs of one endpoint, held in memory."""

    def __init__(self, execution_timeout: float = 1200.0):
        self._timeout = execution_timeout
        self._jobs: dict[str, Job] = {}
        self._queue: deque[str] = deque()
        self._stops: dict[str, list[str]] = {}
        self._seen: dict[str, float] = {}

    def submit(self, payload: dict[str, Any], kind: str, now: float) -> Job:
        """A new job in the queue. `kind`: "run" or "runsync"."""
        policy = payload.get("policy") or {}
        job = Job(
            id=f"{'sync-' if kind == 'runsync' else ''}{uuid.uuid4()}-u1",
            input=payload["input"],
            kind=kind,
            created=now,
            execution_timeout=policy.get("executionTimeout", self._timeout * 1000) / 1000,
            ttl=policy.get("ttl", DEFAULT_TTL_S * 1000) / 1000,
        )
        self._jobs[job.id] = job
        self._queue.append(job.id)
        return job

    def get(self, job_id: str) -> Job | None:
        """The job, or None: never heard of, or kept long enough."""
        return self._jobs.get(job_id)

    def take(self, worker: str, now: float) -> Job | None:
        """The oldest waiting job, now in progress on `worker`."""
        self.sweep(now)
        if not self._queue:
            return None
        job = self._jobs[self._queue.popleft()]
        job.status, job.started, job.worker = "IN_PROGRESS", now, worker
        return job

    def finish(self, job_id: str, result: dict[str, Any], now: float) -> bool:
        """A worker's word on a job: progress or the end. False if the job is not in progress (any more)."""
        job = self._jobs.get(job_id)
        if job is None or job.status != "IN_PROGRESS":
            return False  # cancelled, timed out, or progress that lost the race against the result
        if result.get("status") == "IN_PROGRESS":
            job.output = result.get("output")
            return True
        error = result.get("error")
        job.output = result.get("output") if error is None or isinstance(error, str) else None
        job.error = error if isinstance(error, str) else None
        self._end(job, "FAILED" if job.error else "COMPLETED", now)
        return True

    def cancel(self, job_id: str, now: float) -> Job | None:
        """Out of the queue, or, in progress, a stop signal for its worker."""
        job = self._jobs.get(job_id)
        if job and job.status not in FINAL:
            self._end(job, "CANCELLED", now)
        return job

    def purge(self) -> int:
        """Drop what waits; how many there were. Jobs in progress go on."""
        removed = [self._jobs.pop(job_id) for job_id in self._queue]
        self._queue.clear()
        return len(removed)

    def stops_for(self, worker: str) -> list[str]:
        """The jobs that `worker` has to stop, each said once."""
        return self._stops.pop(worker, [])

    def seen(self, worker: str, now: float) -> None:
        """A worker has asked or pinged."""
        self._seen[worker] = now

    def sweep(self, now: float) -> None:
        """Time out what has run or waited too long; forget old results."""
        for job in list(self._jobs.values()):
            if job.status == "IN_QUEUE" and now - job.created > job.ttl:
                self._end(job, "TIMED_OUT", now)
            elif job.started is not None and job.ended is None and now - job.started > job.execution_timeout:
                job.error = "job timed out"
                self._end(job, "TIMED_OUT", now)
            elif job.ended is not None and now - job.ended > KEEP_S[job.kind]:
                del self._jobs[job.id]

    def health(self, now: float) -> dict[str, dict[str, int]]:
        """The answer of /health. A worker that has said nothing for half a minute is gone."""
        self.sweep(now)
        states = [job.status for job in self._jobs.values()]
        busy = {job.worker for job in self._jobs.values() if job.status == "IN_PROGRESS"}
        alive = {worker for worker, at in self._seen.items() if now - at < 30}
        return {
            "jobs": {
                "completed": states.count("COMPLETED"),
                "failed": states.count("FAILED") + states.count("TIMED_OUT"),
                "inProgress": states.count("IN_PROGRESS"),
                "inQueue": states.count("IN_QUEUE"),
                "retried": 0,
            },
            "workers": {"idle": len(alive - busy), "running": len(alive & busy)},
        }

    def _end(self, job: Job, status: str, now: float) -> None:
        if job.status == "IN_QUEUE":
            self._queue.remove(job.id)
        elif status in ("CANCELLED", "TIMED_OUT") and job.worker:
            self._stops.setdefault(job.worker, []).append(job.id)
            job.output = None  # the last progress report is no result
        job.status, job.ended = status, now
