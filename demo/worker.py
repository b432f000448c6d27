"""The real worker for the demo and the tests: handler.py's loop, with something else in ComfyUI's place or beside it.

    python -m demo.worker --standin                      the stand-in ComfyUI (test cards, no models)
    python -m demo.worker --node-pack DIR --device cpu   real ComfyUI with one more node pack

It joins the queue that the environment names (see QueueServer.worker_env) and ends on SIGTERM.
"""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

# On RunPod these look for GPUs, disks and the network; here they would only cost seconds.
os.environ.setdefault("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true")
os.environ.setdefault("RUNPOD_SKIP_GPU_CHECK", "true")

import handler
from worker.engine import Engine
from worker.errors import JobError
from worker.host import Worker
from worker.settings import Settings, SettingsError


def main() -> int:
    """Take jobs until told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--standin", action="store_true", help="run the stand-in in ComfyUI's place")
    parser.add_argument("--step-seconds", type=float, default=0.01, help="of the stand-in: how long a step takes")
    parser.add_argument("--node-pack", type=Path, action="append", default=[], help="a folder of nodes to link in")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto")
    args = parser.parse_args()
    sys.argv = sys.argv[:1]  # the SDK reads the command line, too
    logging.basicConfig(level=logging.INFO, format=handler.LOG_FORMAT, stream=sys.stdout, force=True)
    # Until the SDK takes the signal over: end as Ctrl-C does, so that ComfyUI is taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    standin = [sys.executable, "-m", "demo.standin", "--step-seconds", str(args.step_seconds)]
    try:
        settings = Settings.from_env()
        command = standin if args.standin else None
        engine = Engine(settings, command=command, node_packs=args.node_pack, device=args.device)
        return handler.serve(Worker(settings, engine))
    except (JobError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
