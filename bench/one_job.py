"""One request through an operation's binding and a running ComfyUI, timed node by node and step by step."""

import asyncio
import itertools
import shutil
import statistics
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.watch import Peak
from worker.engine import Engine
from worker.events import Event, Finished, NodeProgress
from worker.finished import check_mp4
from worker.graph import title_in
from worker.media import probe_image, probe_sound
from worker.operations.base import Operation
from worker.probe import probe_video
from worker.tracking import Track

DEADLINE_S = 1500
ENOUGH_STEPS = 10
FREE_S = 3.0
"""ComfyUI says yes at once and does it when it is idle."""
PROBES: dict[str, Callable[[Path], Any]] = {
    "image": lambda path: probe_image(path, 0),
    "video": probe_video,
    "audio": probe_sound,
}


class Steps:
    """When each step of every node that tells its progress was done, by title."""

    def __init__(self) -> None:
        self._marks: dict[str, dict[float, float]] = defaultdict(dict)

    def hear(self, event: Event, prompt: Mapping[str, Any]) -> None:
        if isinstance(event, NodeProgress) and event.value > 0:
            self._marks[title_in(prompt, event.node_id)].setdefault(event.value, time.monotonic())

    def figures(self, nodes: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """By title: the number of steps and the seconds of one. `nodes`: the seconds of every node.

        A GPU works behind what it is told, so the first and the last steps look shorter or longer than they are.
        With enough steps the median between two of them is right; with few it is the node's time over their number.
        """
        found = {}
        for title, marks in self._marks.items():
            order = [marks[value] for value in sorted(marks)]
            between = [after - before for before, after in itertools.pairwise(order)]
            step = statistics.median(between) if len(order) >= ENOUGH_STEPS else nodes[title] / len(order)
            found[title] = {"steps": len(order), "s_per_step": round(step, 3)}
        return found


async def run_job(
    engine: Engine, operation: Operation, job_input: Mapping[str, Any], files: Mapping[str, Path]
) -> dict[str, Any]:
    """Seconds and peaks of one job's graph. files: {role: input file}; fetching and delivering are left out.

    `mp4` is what the worker's own check says of the finished video: "right", or what is wrong with it.
    """
    prompt_id = str(uuid.uuid4())
    request = operation.parse(job_input, engine.settings)
    inputs = engine.input_dir / prompt_id
    inputs.mkdir(parents=True)
    infos: dict[str, Any] = {}
    for role, path in files.items():
        shutil.copy(path, inputs / path.name)
        infos[role] = PROBES[operation.wanted(request)[role].kind](path)
    expected = operation.expected(request, infos)
    bound = operation.bind(
        request, {role: f"{prompt_id}/{path.name}" for role, path in files.items()}, infos, prompt_id
    )
    track, steps = Track({}, lambda update: None), Steps()
    began, outputs = time.monotonic(), []
    assert engine.process_id is not None
    with Peak(engine.process_id) as peak:
        async with engine.client() as client:
            await client.submit(bound.prompt, prompt_id, began + DEADLINE_S)
            async for event in client.follow(prompt_id, began + DEADLINE_S):
                track.hear(event, lambda node: title_in(bound.prompt, node))
                steps.hear(event, bound.prompt)
                if isinstance(event, Finished):
                    outputs = [engine.path_of(file) for file in event.outputs if file.type == "output"]
    found: dict[str, Any] = {"seconds": round(time.monotonic() - began, 2), "nodes": track.timings()["nodes"]}
    found |= {"steps": steps.figures(found["nodes"]), **peak.figures()}
    found["bytes"] = {path.name: path.stat().st_size for path in outputs}
    for path in outputs:
        if expected is not None and path.suffix == ".mp4":
            report = check_mp4(path, expected)
            found["mp4"] = "right" if report.ok else report.table()
    return found


async def forget_everything(engine: Engine) -> None:
    """Cached results and weights leave ComfyUI's memory; the weight files stay in the disk's cache."""
    async with engine.client() as client:
        await client.free_memory()
    await asyncio.sleep(FREE_S)
