"""The acceptance gate: run an avatar job, fetch the MP4 it names, and hold it to everything it should be.

    python smoke_test.py --url http://127.0.0.1:8000/v2 --image-key in/person.png --video-key in/driving.mp4
    RUNPOD_API_KEY=... python smoke_test.py --endpoint ENDPOINT_ID --image-key ... --video-key ... --runs 5
    python smoke_test.py --url ... --job ID --image-key ...     a job that has ended already, asked for as said here

Exit code 0 only if every check of every run holds. The MP4 comes from the store of the MINIO_* variables by its
key, or, where they are unset, from the presigned URL. The driving video is read too: its range says how many
frames the result must have.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from cli.client import EndpointClient, client_of
from cli.console import ProgressBar
from cli.outcome import Finished, RunFailed
from cli.report import found_in, say_failure
from demo.acceptance import Outcome, Summary, accept
from worker.errors import JobError
from worker.settings import SettingsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; 0 if all holds, 1 if the job failed or its result is not right, 2 if nothing could be asked."""
    args = _arguments(arguments)
    try:
        client = client_of(args.url, args.endpoint)
        outcomes = [_one_run(client, args, number) for number in range(1, args.runs + 1)]
    except (RunFailed, JobError, SettingsError) as error:
        return _could_not(error, args.json)
    except KeyboardInterrupt:
        print("Stopped; the job was cancelled.", file=sys.stderr)
        return 2
    summary = Summary.of(outcomes)
    if args.json:
        print(json.dumps({"ok": summary.ok, **summary.as_dict(), "runs": [o.as_dict() for o in outcomes]}, indent=1))
    else:
        print(summary.text())
    return 0 if summary.ok else 1


def _one_run(client: EndpointClient, args: argparse.Namespace, number: int) -> Outcome:
    finished = client.finished(args.job) if args.job else _followed(client, args, number)
    outcome = accept(finished, _job_input(args))
    if not args.json:
        print(outcome.text())
    return outcome


def _followed(client: EndpointClient, args: argparse.Namespace, number: int) -> Finished:
    with ProgressBar(quiet=args.json, name=f"run {number} of {args.runs}" if args.runs > 1 else "job") as bar:
        return client.run(_job_input(args), timeout=args.timeout, on_news=bar.show)


def _job_input(args: argparse.Namespace) -> dict[str, Any]:
    """The request; fields that were not given are left to the worker's defaults."""
    fields = {
        "input_image_minio_path": args.image_key,
        "input_image_url": args.image_url,
        "driving_video_path": args.video_key,
        "driving_video_url": args.video_url,
        **{name: getattr(args, name) for name in _OPTIONAL},
    }
    return {"operation": "avatar", **{name: value for name, value in fields.items() if value is not None}}


_OPTIONAL = {
    "width": int,
    "height": int,
    "fps": float,
    "start_time": float,
    "end_time": float,
    "steps": int,
    "seed": int,
    "mode": str,
    "user_id": str,
    "avatar_id": str,
}


def _could_not(error: Exception, as_json: bool) -> int:
    """Why there is no result to check: what was said, its code, and what to do."""
    found = found_in(error)
    if as_json:
        print(json.dumps({"ok": False, "failed": str(error), "error": found or None}, indent=1))
        return 1 if found else 2
    say_failure(error)
    return 1 if found else 2


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="base URL of a local queue, up to and including /v2")
    parser.add_argument("--endpoint", help="id of a deployed endpoint (needs RUNPOD_API_KEY)")
    picture = parser.add_mutually_exclusive_group(required=True)
    picture.add_argument("--image-key", help="the picture's key in the bucket")
    picture.add_argument("--image-url", help="or its URL")
    driving = parser.add_mutually_exclusive_group(required=True)
    driving.add_argument("--video-key", help="the driving video's key in the bucket")
    driving.add_argument("--video-url", help="or its URL")
    for name, kind in _OPTIONAL.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="as in the request; default: the worker's")
    runs = parser.add_mutually_exclusive_group()
    runs.add_argument("--runs", type=int, default=1, help="how many jobs, one after the other")
    runs.add_argument("--job", metavar="ID", help="send none: check this one, which has ended, by the fields given")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one job, from /run to its end")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a report")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
