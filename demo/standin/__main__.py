"""`python -m demo.standin --port P --base-directory DIR [--fault KIND[=DETAIL]]`, in place of ComfyUI's main.py.

ComfyUI's own flags are taken and ignored, so that the engine starts this as it starts ComfyUI.
"""

import argparse
import asyncio
import os
import signal
from pathlib import Path

from demo.standin.faults import DOOMED_MARK, Fault, Kind
from demo.standin.server import StandIn

BANNER = "STAND-IN for ComfyUI: no model runs here, every video is a test card."


def arguments() -> argparse.Namespace:
    """The command line; unknown flags are ComfyUI's."""
    parser = argparse.ArgumentParser(prog="python -m demo.standin", description=BANNER)
    parser.add_argument("--port", type=int, default=8188, help="TCP port")
    parser.add_argument("--listen", default="127.0.0.1", help="address")
    parser.add_argument("--base-directory", type=Path, required=True, help="holds input, output and temp")
    parser.add_argument("--fault", type=Fault.parse, help=f"one of {', '.join(Kind)}, with =DETAIL where it has one")
    parser.add_argument("--step-seconds", type=float, default=0.01, help="how long a sampling step takes")
    return parser.parse_known_args()[0]


async def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    options = arguments()
    if (options.base_directory / DOOMED_MARK).exists():
        print("Fatal Python error: the stand-in was told to end at every start", flush=True)
        os._exit(70)
    standin = StandIn(options.base_directory, options.fault, options.step_seconds, on_crash=lambda: os._exit(70))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    port = await standin.start(options.port, options.listen)
    print(f"{BANNER} http://{options.listen}:{port}", flush=True)
    await stopped.wait()
    await standin.stop()


if __name__ == "__main__":
    asyncio.run(main())
