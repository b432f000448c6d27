"""What smoke_test.py holds a finished job to, and how it says so. No printing here."""

import asyncio
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.outcome import Finished, RunFailed
from cli.results import download
from worker.finished import Report, check_mp4
from worker.media import Inputs, fetch_video
from worker.operations.avatar import Avatar
from worker.settings import Settings
from worker.store import ObjectStore


@dataclass(frozen=True)
class Outcome:
    """One run: what was checked, its times in ms, and whether its worker had just started."""

    job_id: str
    report: Report
    delay_ms: int
    execution_ms: int
    cold_start: bool
    answer: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Every check holds."""
        return self.report.ok

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the presigned URL."""
        answer = {name: value for name, value in self.answer.items() if name != "presigned_url"}
        return {**vars(self), "ok": self.ok, "report": self.report.as_dict(), "answer": answer}

    def text(self) -> str:
        """A table of the checks, for a person."""
        where = f"job {self.job_id}: {self.answer.get('minio_key')}"
        times = f"queued {self.delay_ms} ms, executed {self.execution_ms} ms"
        return "\n".join([where, times + (", cold start" if self.cold_start else ""), self.report.table()])


@dataclass(frozen=True)
class Summary:
    """All runs together. Percentiles in ms, by nearest rank: with few runs they are times that were really seen."""

    ok: bool
    runs: int
    cold_starts: int
    delay_ms: dict[str, int]
    execution_ms: dict[str, int]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> "Summary":
        """Of at least one run."""
        return cls(
            ok=all(outcome.ok for outcome in outcomes),
            runs=len(outcomes),
            cold_starts=sum(outcome.cold_start for outcome in outcomes),
            delay_ms=percentiles([outcome.delay_ms for outcome in outcomes]),
            execution_ms=percentiles([outcome.execution_ms for outcome in outcomes]),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `ok` is the caller's to add."""
        return {
            "number_of_runs": self.runs,
            "cold_starts": self.cold_starts,
            "delayTime": self.delay_ms,
            "executionTime": self.execution_ms,
        }

    def text(self) -> str:
        """The last lines of the report."""
        lines = [f"{self.runs} run(s), {self.cold_starts} cold start(s)"] if self.runs > 1 else []
        if self.runs > 1:
            for name, values in (("delayTime", self.delay_ms), ("executionTime", self.execution_ms)):
                lines.append(f"{name:14}" + "  ".join(f"{key} {value} ms" for key, value in values.items()))
        return "\n".join([*lines, "PASSED" if self.ok else "FAILED: see the checks marked WRONG"])


def percentiles(values: Sequence[int]) -> dict[str, int]:
    """{p50, p90, max} by nearest rank."""
    ordered = sorted(values)

    def rank(percent: int) -> int:
        return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]

    return {"p50": rank(50), "p90": rank(90), "max": ordered[-1]}


def accept(finished: Finished, job_input: dict[str, Any], settings: Settings | None = None) -> Outcome:
    """Fetch what the job made and check it. Raises JobError or RunFailed where it cannot be fetched."""
    settings = settings or Settings.from_env()
    operation = Avatar()
    request = operation.parse({name: v for name, v in job_input.items() if name != "operation"}, settings)
    store = None if settings.missing_for_store() else ObjectStore.from_settings(settings)
    with tempfile.TemporaryDirectory(prefix="smoke-") as folder:
        result = Path(folder) / "result.mp4"
        asyncio.run(_fetch_result(store, finished.output, result))
        wanted = operation.wanted(request)["driving"].source
        info = asyncio.run(fetch_video(wanted, Path(folder) / "driving", Inputs.from_settings(settings, store)))
        report = check_mp4(result, operation.expected(request, {"driving": info}))
    (key,) = operation.outputs(request, finished.job_id)["video"].keys
    _check_answer(report, finished, key, job_input.get("seed"))
    cold = bool((finished.output.get("worker") or {}).get("cold_start"))
    return Outcome(finished.job_id, report, finished.delay_ms, finished.execution_ms, cold, finished.output)


def _check_answer(report: Report, finished: Finished, key: str, seed: int | None) -> None:
    """The answer says what the file is, the key is the contract's, and the progress, if seen, was believable.

    seed: the one asked for; None: any.
    """
    answer = finished.output
    report.add("key", answer.get("minio_key") == key, answer.get("minio_key"), key)
    for name in ("width", "height", "fps", "num_frames", "video_size_bytes"):
        measured = getattr(report, name)
        report.add(f"answer: {name}", answer.get(name) == measured, answer.get(name), measured)
    sha = str((answer.get("versions") or {}).get("graph_sha256"))
    report.add("answer: graph sha256", bool(re.fullmatch("[0-9a-f]{64}", sha)), f"{sha[:12]}...", "64 hex digits")
    said = answer.get("seed")
    right = isinstance(said, int) and (seed is None or said == seed)
    report.add("answer: seed", right, said, "a whole number" if seed is None else seed)
    if finished.followed:
        percents = [update["percent"] for update in finished.progress]
        report.add("progress", percents == sorted(percents), f"{len(percents)} updates", "never falling")


async def _fetch_result(store: ObjectStore | None, answer: dict[str, Any], path: Path) -> None:
    """From the store by its key, or, without a store, from the presigned URL."""
    if store and answer.get("minio_key"):
        await store.get(answer["minio_key"], path)
    elif answer.get("presigned_url"):
        await asyncio.to_thread(download, answer["presigned_url"], path)
    else:
        raise RunFailed("The answer has no presigned_url, and no store is configured here: set the MINIO_* variables.")
