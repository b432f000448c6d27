"""`make bench`: the README's figures that need neither a GPU nor much time, in one table.

    python -m bench [video pose masks overhead] [--json]

Each benchmark runs as a program of its own, one after the other; about five minutes on 2 idle cores. Those that take
long or need a GPU are only named. The exit code is 0 if every target is reached.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.video import AIM_MEMORY_RATIO, AIM_TIMES_REAL_TIME

SEPARATE = {
    "python -m bench.memory": "peak memory of a whole job, 60 s of driving video against 6 s; about 15 minutes",
    "python -m bench.mimicmotion_memory": "the same for a dance of 5 minutes against 10 s; about 3 minutes",
    "python -m bench.multitalk_memory": "the same for a talk of 3 minutes against 10 s; about 5 minutes",
    "python -m bench.segment": "SAM2 with 1 and with 5 boxes, weights of the true size; some minutes on a CPU",
    "python -m bench.avatar_gpu FOLDER": "avatar: seconds a stage and peak memory on a GPU, weights of the true size",
    "python -m bench.operations_gpu FOLDER ...": "the same for i2v, animate and segment",
    "python -m bench.mimicmotion_gpu FOLDER": "a MimicMotion step against the original way, and a chunk on 16 GB",
    "python -m bench.multitalk_gpu FOLDER": "MultiTalk, one and two speakers, ours and core's; seconds a stage",
    "python -m bench.floor": "the least time that the jobs can take on some cards, beside what was claimed",
}


@dataclass(frozen=True)
class Row:
    """One figure. `at_least`: is the target a floor or a ceiling?"""

    name: str
    value: float
    unit: str
    target: float
    at_least: bool

    @property
    def reached(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target

    def text(self) -> str:
        sign = "at least" if self.at_least else "at most"
        verdict = "reached" if self.reached else "NOT REACHED"
        return f"{self.name:46}{self.value:9.2f} {self.unit:10}{sign:9}{self.target:6.2f}  {verdict}"


def video_rows(found: dict[str, Any]) -> list[Row]:
    speed = min(run["times_real_time"] for run in found["results"])
    return [
        Row("1280x720 video in, resampled, written out", speed, "x real", AIM_TIMES_REAL_TIME, True),
        Row("its memory, 60 s against 6 s", found["memory_ratio"], "x", AIM_MEMORY_RATIO, False),
    ]


def pose_rows(found: dict[str, Any]) -> list[Row]:
    return [Row("pose drawing at 1280x720", found["draw_1280x720_fps"], "frames/s", found["target_fps"], True)]


def masks_rows(found: dict[str, Any]) -> list[Row]:
    return [Row("mask growing at 1280x720", found["grow_1280x720_fps"], "frames/s", found["target_fps"], True)]


def overhead_rows(found: dict[str, Any]) -> list[Row]:
    names = {"idle_worker": "to an idle worker", "back_to_back": "one after the other"}
    return [
        Row(f"submit to answer, models aside, {text}", found[key]["all"], "s", found["target_s"], False)
        for key, text in names.items()
    ]


BENCHES: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "video": video_rows,
    "pose": pose_rows,
    "masks": masks_rows,
    "overhead": overhead_rows,
}


def run(name: str) -> dict[str, Any]:
    """What `python -m bench.<name> --json` prints. Its errors go to our own error output."""
    command = [sys.executable, "-m", f"bench.{name}", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench.{name} ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def main() -> int:
    """Run them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(BENCHES)}; none: all")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    if unknown := set(options.names) - BENCHES.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    load, found = os.getloadavg()[0], {}
    for name in options.names or BENCHES:
        print(f"bench.{name} ...", file=sys.stderr, flush=True)
        found[name] = run(name)
    rows = [row for name, result in found.items() for row in BENCHES[name](result)]
    if options.json:
        print(json.dumps({"cores": os.cpu_count(), "load_before": load, **found}, indent=1))
    else:
        print(f"\n{os.cpu_count()} cores, load before {load:.1f}\n")
        print("\n".join(row.text() for row in rows))
        print("\nNot run here:")
        print("\n".join(f"  {command:44}{what}" for command, what in SEPARATE.items()))
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
