"""The command line: run one job of any operation, here or on an endpoint, and keep its files.

    python run.py --image photo.jpg --video dance.mp4 --output out.mp4
    python run.py i2v --image photo.jpg --prompt "She turns her head and smiles"
    python run.py animate --image photo.jpg --mask what_moves.png --endpoint ENDPOINT_ID
    python run.py segment --image photo.jpg --box 100,150,400,600 --output masks/
    python run.py avatar --image minio:in/person.png --video minio:in/driving.mp4 --url http://127.0.0.1:8000/v2

Without an OPERATION it is mimicmotion: the person of the picture dances as the one of the video does.
Without --endpoint (RunPod; RUNPOD_API_KEY) or --url (a local queue) the job runs in this process, with the settings
of the environment; ComfyUI is started for it and ended after it. `run.py OPERATION --help` lists the request's fields.
Exit code 0: done; 1: the job failed; 2: it could not be asked for; 130: Ctrl-C, the job is cancelled.
"""

import argparse
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence

from cli.arguments import Flag, add_flags, flags_of, given_by, meant_by, spelled_with_hyphens
from cli.one_job import run_one
from cli.outcome import RunFailed
from cli.report import found_in, say_failure, summary
from worker.errors import JobError
from worker.operations import Operation, load_operations
from worker.operations.base import nearest
from worker.settings import SettingsError

DEFAULT_OPERATION = "mimicmotion"
LOG_FORMAT = "%(levelname)-7s| %(name)s: %(message)s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job; its exit code."""
    try:
        operations = load_operations()
    except JobError as error:
        return _failed(error, False, ())
    parsers, flags, args = _parsed(sys.argv[1:] if arguments is None else arguments, operations)
    output = logging.StreamHandler(sys.stderr)
    if not args.verbose:  # why a job failed is said once, by us
        output.addFilter(lambda record: record.name != "worker.jobs" or record.levelno >= logging.ERROR)
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, handlers=[output], format=LOG_FORMAT)
    own = flags[args.operation]
    try:
        given = given_by(args, own, os.environ)
    except ValueError as error:
        parsers[args.operation].error(str(error))
    try:
        answer = run_one(args, operations[args.operation], given)
    except (RunFailed, JobError, SettingsError) as error:
        return _failed(error, args.json, own)
    except KeyboardInterrupt:
        print("\nStopped; the job was cancelled.", file=sys.stderr)
        return 130
    print(json.dumps(answer, indent=1, ensure_ascii=False) if args.json else summary(answer))
    return 0


def _failed(error: Exception, as_json: bool, flags: Sequence[Flag]) -> int:
    """Say why there is nothing. 1 where a job failed; 2 where there was none yet."""
    say_failure(error, {field: f"--{flag.names[0]}" for flag in reversed(flags) for field in flag.fields})
    if as_json:
        print(json.dumps({"success": False, "failed": str(error), "error": found_in(error) or None}, indent=1))
    return 1 if isinstance(error, RunFailed) and (error.error or error.status) else 2


def _parsed(
    arguments: Sequence[str], operations: Mapping[str, Operation]
) -> tuple[dict[str, argparse.ArgumentParser], dict[str, list[Flag]], argparse.Namespace]:
    """Each operation's parser and flags, and what was asked for. Ends the program where that is not understood."""
    parser = argparse.ArgumentParser(
        "run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="operation", metavar="OPERATION", required=True)
    parsers: dict[str, argparse.ArgumentParser] = {}
    flags: dict[str, list[Flag]] = {}
    for name, operation in operations.items():
        about = _about(operation)
        parsers[name] = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        flags[name] = flags_of(operation.request)
        add_flags(parsers[name], flags[name])
        _add_common(parsers[name])
    args, unknown = parser.parse_known_args(spelled_with_hyphens(_with_operation(arguments, operations, parser)))
    if unknown:
        own = parsers[args.operation]
        if unknown[0] in operations:
            own.error(f"the operation comes first: run.py {unknown[0]} ...")
        near = meant_by(unknown[0], re.findall(r"--[\w-]+", own.format_help()))
        own.error(f"{unknown[0]} is no flag of {args.operation}" + (f"; did you mean {near}?" if near else ""))
    return parsers, flags, args


def _with_operation(
    arguments: Sequence[str], operations: Mapping[str, Operation], parser: argparse.ArgumentParser
) -> list[str]:
    """The arguments with their operation in front. Ends the program where the first word is none."""
    first = arguments[0] if arguments else "--help"
    if first.startswith("-"):
        return [*arguments] if first in ("-h", "--help") else [DEFAULT_OPERATION, *arguments]
    if first not in operations:
        near = nearest(first, list(operations))
        meant = f"did you mean {near}?" if near else f"there are {', '.join(operations)}"
        parser.error(f"{first[:80]!r} is no operation; {meant}")
    return [*arguments]


def _add_common(parser: argparse.ArgumentParser) -> None:
    """The flags that say where the job runs and what becomes of its files."""
    where = parser.add_argument_group("where it runs (with neither: in this process)")
    where.add_argument("--endpoint", metavar="ID", help="a deployed endpoint (needs RUNPOD_API_KEY)")
    where.add_argument("--url", help="base URL of a local queue, up to and including /v2")
    where.add_argument("--timeout", type=float, metavar="SECONDS", help="the job is cancelled after so long")
    results = parser.add_argument_group("the results")
    results.add_argument("--output", metavar="PATH", help="file of the video or the overview, or a folder")
    results.add_argument("--json", action="store_true", help="print the answer; files as paths, nothing else on stdout")
    results.add_argument("--verbose", action="store_true", help="the worker's log on stderr, too")


def _about(operation: Operation) -> str:
    """The first sentence of the operation's module."""
    text = (sys.modules[type(operation).__module__].__doc__ or operation.name).partition("\n\n")[0]
    text = re.sub(r" \(seed \d+\)", "", " ".join(text.partition(": ")[2].split()))
    return text.rstrip(".").replace("%", "%%") or operation.name


if __name__ == "__main__":
    # Whoever ends us gets what Ctrl-C gets: the job is cancelled, ComfyUI is ended, nothing goes on being billed.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.exit(main())
