"""`make demo`: one avatar job end to end on this machine - real store, queue, worker and ComfyUI, tiny weights.

    python -m demo [--image FILE] [--video FILE] [--width 1280 --height 720 --steps 2]

What is left afterwards is in work/demo: the MP4, its contact sheet and the logs.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cli.console import ProgressBar
from cli.outcome import RunFailed
from demo.contact_sheet import write_contact_sheet
from demo.processes import ChildFailed
from demo.s3_server import S3ServerError
from demo.sample import ASSETS
from demo.tiny import tiny_models
from demo.world import ROOT, World
from worker.errors import JobError
from worker.find_comfyui import PINNED_VERSION, find_comfyui
from worker.settings import Settings

TINY_NOTE = (
    "Tiny random weights: the result is noise by design. This proves the path - queue, worker, ComfyUI, the graph, "
    "the MP4, the store - and nothing about how the model's pictures look."
)
STANDIN_NOTE = "STAND-IN: no ComfyUI ran here, and no graph. This is a test card, not a result of anything."
BANNER = """
{line}
  NO COMFYUI HERE - this demo runs on a STAND-IN, and its video is a TEST CARD.

  {why}

  For the real thing give it ComfyUI v{version}:
    COMFYUI_PATH=/path/to/ComfyUI make demo       a copy you have
    COMFYUI_GIT_URL=<git url>     make demo       a mirror to clone it from
{line}
"""


def main() -> int:
    """Run the demo; 0 if the job succeeded and smoke_test.py passed."""
    args = _arguments()
    began = time.monotonic()
    try:
        return _demo(args, began)
    except (ChildFailed, RunFailed, S3ServerError) as error:
        print(f"\nThe demo did not succeed: {error}\nLogs: {args.folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; everything was taken down.", file=sys.stderr)
        return 130


def _demo(args: argparse.Namespace, began: float) -> int:
    standin = _needs_standin(args)
    if not standin:
        _say("Making tiny weights (seeded, once)")
    models = args.folder / "models" if standin else tiny_models(args.folder / "models")
    models.mkdir(parents=True, exist_ok=True)
    _say("Starting the S3 store, the queue and the worker")
    with World(args.folder, models, standin=standin) as world:
        job = {
            "operation": "avatar",
            "input_image_minio_path": world.upload(args.image, f"inputs/{args.image.name}"),
            "driving_video_path": world.upload(args.video, f"inputs/{args.video.name}"),
            **{name: getattr(args, name) for name in ("width", "height", "steps", "seed")},
        }
        _say(f"Sending the job to {world.queue.url}/{world.queue.endpoint}/run")
        with ProgressBar("avatar") as bar:
            finished = world.client.run(job, args.timeout, bar.show)
        result = world.download(finished.output["minio_key"], args.folder / "result.mp4")
        (args.folder / "answer.json").write_text(json.dumps(finished.output, indent=1, ensure_ascii=False) + "\n")
        _say("Running smoke_test.py on the answer")
        passed = _smoke_test(world, finished.job_id, job)
    note = STANDIN_NOTE if standin else TINY_NOTE
    sheet = write_contact_sheet(result, args.video, args.folder / "contact_sheet.png", title="make demo", note=note)
    print(
        f"\nMP4            {result}\n               in the store: {finished.output['minio_key']}\n"
        f"Contact sheet  {sheet}\nAnswer         {args.folder / 'answer.json'}\n"
        f"\n{note}\nDone in {time.monotonic() - began:.0f} s; everything was taken down again."
    )
    return 0 if passed else 1


def _needs_standin(args: argparse.Namespace) -> bool:
    """Is there no real ComfyUI to be had? Said so that it cannot be missed."""
    if args.standin:
        why = "Asked for with --standin."
    else:
        try:
            found = find_comfyui(Settings.from_env(), clone=True)
            _say(f"ComfyUI {found.version} at {found.path}")
            return False
        except JobError as error:
            why = f"{error.message}"
    print(BANNER.format(line="!" * 100, why=why, version=PINNED_VERSION), flush=True)
    return True


def _smoke_test(world: World, job_id: str, job: dict[str, Any]) -> bool:
    """The acceptance gate, as its own program, on the job that has just finished."""
    flags = ["--url", world.queue.url, "--job", job_id]
    flags += ["--image-key", job["input_image_minio_path"], "--video-key", job["driving_video_path"]]
    for name in ("width", "height", "steps", "seed"):
        flags += [f"--{name}", str(job[name])]
    environment = {**os.environ, **world.environment, "ALLOW_PRIVATE_ADDRESSES": world.s3.endpoint}
    return subprocess.run([sys.executable, str(ROOT / "smoke_test.py"), *flags], env=environment).returncode == 0


def _say(text: str) -> None:
    print(f"- {text}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=ASSETS / "person.png", help="picture of the person")
    parser.add_argument("--video", type=Path, default=ASSETS / "driving.mp4", help="the driving video")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--steps", type=int, default=2, help="sampling steps; 6 in production")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("work/demo"), help="where everything goes")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds for the job")
    parser.add_argument("--standin", action="store_true", help="use the stand-in even where ComfyUI is")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
