"""The texts of a command line as values of a request. What is wrong with one is told by argparse, with its flag."""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Way = Literal["file", "url", "key"]


@dataclass(frozen=True)
class Media:
    """What a media flag names, and how."""

    way: Way
    value: str


def media_type(ways: Mapping[Way, str]) -> Callable[[str], Media]:
    """What reads a media flag that can be named in these ways: {way: field}."""

    def media(text: str) -> Media:
        if re.match(r"https?://", text, re.IGNORECASE):
            found = Media("url", text)
        elif text.startswith("minio:"):
            found = Media("key", text.removeprefix("minio:"))
        else:
            found = Media("file", text)
        if found.way not in ways and found.way != "file":  # a file that is not sent itself is brought to the worker
            words = {"file": "a file of this machine", "url": "an http(s) URL", "key": "minio:KEY of the bucket"}
            rest = " or ".join(words[other] for other in words if other in ways)
            what = f"{text[:200]!r} is {words[found.way]}"
            raise argparse.ArgumentTypeError(f"{what}, which this operation does not take: use {rest}")
        if found.way == "file" and not Path(text).is_file():
            raise argparse.ArgumentTypeError(f"there is no file {text[:200]!r} (a key of the bucket is minio:KEY)")
        return found

    return media


def numbers_type(least: int, most: int) -> Callable[[str], list[int | float]]:
    """What reads so many numbers with commas between them."""

    def numbers(text: str) -> list[int | float]:
        try:
            found = [float(part) for part in text.split(",")]
        except ValueError:
            found = []
        if not least <= len(found) <= most:
            wanted = str(most) if least == most else f"{least} or {most}"
            raise argparse.ArgumentTypeError(f"{text[:80]!r}: {wanted} numbers with commas between them are wanted")
        return [int(number) if number.is_integer() else number for number in found]

    return numbers


def point(text: str) -> tuple[list[int | float], int | float]:
    """x,y or x,y,label as (place, label)."""
    found = numbers_type(2, 3)(text)
    return found[:2], found[2] if len(found) == 3 else 1


def json_value(text: str) -> Any:
    """JSON text, or `@file` that holds it."""
    where = "the text"
    if text.startswith("@"):
        where = text[1:]
        try:
            text = Path(where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise argparse.ArgumentTypeError(f"{where} cannot be read: {error}") from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{where} is no JSON: {error}") from None
