"""Graphs of a benchmark's own in a ComfyUI with the benchmarks' nodes."""

import argparse
import contextlib
import shutil
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bench.one_job import DEADLINE_S, Steps
from bench.watch import Peak
from demo.tiny import TINY_NODES
from worker.engine import Engine
from worker.events import Finished
from worker.graph import title_in
from worker.settings import Settings
from worker.tracking import Track

BENCH_NODES = Path(__file__).parent / "gpu_nodes"


def prompt_of(nodes: dict[str, Any]) -> dict[str, Any]:
    """A prompt of {name: (class, title, inputs)}; a link is [name, output]."""
    return {
        name: {"class_type": kind, "_meta": {"title": title}, "inputs": inputs}
        for name, (kind, title, inputs) in nodes.items()
    }


async def run(engine: Engine, prompt: dict[str, Any]) -> dict[str, Any]:
    """Seconds of every node and step, and peaks, of one graph."""
    prompt_id, track, steps = str(uuid.uuid4()), Track({}, lambda update: None), Steps()
    began = time.monotonic()
    assert engine.process_id is not None
    with Peak(engine.process_id) as peak:
        async with engine.client() as client:
            await client.submit(prompt, prompt_id, began + DEADLINE_S)
            async for event in client.follow(prompt_id, began + DEADLINE_S):
                track.hear(event, lambda node: title_in(prompt, node))
                steps.hear(event, prompt)
                if isinstance(event, Finished):
                    break
    nodes = track.timings()["nodes"]
    found = {"seconds": round(time.monotonic() - began, 2), "nodes": nodes, "steps": steps.figures(nodes)}
    return found | peak.figures()


@contextlib.asynccontextmanager
async def running(args: argparse.Namespace, models: Path, name: str) -> AsyncIterator[Engine]:
    """ComfyUI as the worker starts it, with the benchmarks' nodes. args: folder, comfyui, tiny, logs.

    name: of its log.
    """
    settings = Settings(work_path=args.folder / "work", model_path=models, comfyui_path=args.comfyui)
    engine = Engine(settings, node_packs=(BENCH_NODES, *((TINY_NODES,) if args.tiny else ())))
    await engine.start()
    try:
        await engine.wait_ready(300)
        yield engine
    except BaseException:
        print("\n".join(engine.last_lines(60)), file=sys.stderr)
        raise
    finally:
        if args.logs and engine.log_path:
            shutil.copy(engine.log_path, args.logs / f"{name}.log")
        await engine.stop()
