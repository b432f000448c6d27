"""Flags made from an operation's request class: its JSON schema says their names, types, choices, rules and defaults.

`<x>_base64`, `<x>_url` and `<x>_minio_path` (or `<x>_path`) are one flag `--<x>`, and so is a bare `<x>` beside them: a
file of this machine, an http(s) address, or `minio:KEY`. Nested fields are JSON text or `@file.json`. A flag that is
not given is not in the request, so that defaults stand in the request class alone.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cli.values import Way, json_value, media_type, numbers_type, point
from worker.operations.base import nearest

_MEDIA = re.compile(r"(.+?)_(base64|url|minio_path|path)")
_WAYS: dict[str, Way] = {"base64": "file", "url": "url", "minio_path": "key", "path": "key"}
_TYPES: dict[str, tuple[Callable[[str], Any], str]] = {
    "integer": (int, "N"),
    "number": (float, "X"),
    "string": (str, "TEXT"),
}
_SHOWN = 60
"""Characters of a default that the help shows."""
_SAYS_NOTHING = 10**9


@dataclass(frozen=True)
class Flag:
    """One flag: its names without dashes (the first one counts), the request's fields it stands for, argparse's part.

    ways: of a media flag, {way: field}; "file" is a field that takes base64, without it a file goes another way (see
    cli.local_files). secrets: of a nested object with secrets, {its field: environment variable}.
    """

    names: tuple[str, ...]
    fields: tuple[str, ...]
    options: Mapping[str, Any]
    ways: Mapping[Way, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    @property
    def dest(self) -> str:
        """Where argparse puts the value; apart from the flags that are not of the request."""
        return f"field.{self.names[0]}"


@dataclass(frozen=True)
class Local:
    """A file of this machine that no field takes as base64. ways: its flag's."""

    path: Path
    ways: Mapping[Way, str]


@dataclass(frozen=True)
class Given:
    """The request as the command line gives it. files: {base64 field: file of this machine}, not read yet.

    locals: files that have to reach the worker in another way.
    """

    fields: dict[str, Any]
    files: dict[str, Path]
    locals: Sequence[Local] = ()


def flags_of(request: type[BaseModel]) -> list[Flag]:
    """The flags of a request class: every field of it belongs to one (and to a shorthand besides, if there is one)."""
    schema = request.model_json_schema()
    fields: dict[str, Any] = schema["properties"]
    media = _media_groups(fields)
    grouped = {name for stem, group in media.items() for name in (stem, *group.values())}
    flags = [_media_flag(stem, group, fields, media) for stem, group in media.items()]
    plain = [_flag(name, _resolved(fields[name], schema), schema) for name in fields if name not in grouped]
    return [*flags, *plain, *_shorthands(fields)]


def add_flags(parser: argparse.ArgumentParser, flags: Sequence[Flag]) -> None:
    """Add them to a parser, as the group of the request; its value of a flag that is not given is absent."""
    group = parser.add_argument_group("the request")
    for flag in flags:
        names = [f"--{name}" for name in flag.names]
        group.add_argument(*names, dest=flag.dest, default=argparse.SUPPRESS, **flag.options)


def spelled_with_hyphens(arguments: Sequence[str]) -> list[str]:
    """`--num_frames` becomes `--num-frames`; values stay as they are."""
    return [re.sub(r"^--[\w-]+", lambda name: name[0].replace("_", "-"), text, flags=re.ASCII) for text in arguments]


def meant_by(unknown: str, flags: Sequence[str]) -> str | None:
    """The flag that an unknown one was most likely meant to be."""
    near = nearest(unknown.lstrip("-").split("=")[0], [flag.lstrip("-") for flag in flags])
    return f"--{near}" if near else None


def given_by(args: argparse.Namespace, flags: Sequence[Flag], environ: Mapping[str, str]) -> Given:
    """The request's fields among the parsed arguments. Raises ValueError with the flag in its text."""
    fields: dict[str, Any] = {}
    files: dict[str, Path] = {}
    others: list[Local] = []
    for flag, value in ((flag, getattr(args, flag.dest)) for flag in flags if hasattr(args, flag.dest)):
        if flag.ways and value.way == "file" and "file" not in flag.ways:
            others.append(Local(Path(value.value), flag.ways))
            continue
        values = _fields(flag, value, environ)
        if twice := fields.keys() & values.keys():
            raise ValueError(f"--{flag.names[0]} and --{_hyphens(min(twice))} say the same thing; give one of them")
        for name in list(values):
            if isinstance(values[name], Path):
                files[name] = values.pop(name)
        fields |= values
    return Given(fields, files, others)


def _fields(flag: Flag, value: Any, environ: Mapping[str, str]) -> dict[str, Any]:
    (name, *others) = flag.fields
    if flag.ways:
        named = Path(value.value) if value.way == "file" else value.value
        return {flag.ways[value.way]: named}
    if flag.secrets:
        return {name: _with_environment(flag, value, environ)}
    if others:  # a shorthand: one list a field
        return dict(zip(flag.fields, map(list, zip(*value, strict=True)), strict=True))
    return {name: value}


def _with_environment(flag: Flag, value: Any, environ: Mapping[str, str]) -> Any:
    """An object with secrets: what was not written out comes from the environment, where nobody else can read it."""
    if not isinstance(value, dict):
        return value
    known = {name: environ[variable] for name, variable in flag.secrets.items() if environ.get(variable)}
    if missing := [variable for name, variable in flag.secrets.items() if name not in value and name not in known]:
        raise ValueError(f"--{flag.names[0]}: the environment has no {', '.join(missing)}")
    return {**known, **value}


def _media_groups(fields: Mapping[str, Any]) -> dict[str, dict[Way, str]]:
    """{stem: {way: field}} of whatever can be named in more than one way."""
    groups: dict[str, dict[Way, str]] = {}
    for name in fields:
        if found := _MEDIA.fullmatch(name):
            groups.setdefault(found[1], {})[_WAYS[found[2]]] = name
    for stem, group in groups.items():
        if stem in fields and _takes_base64(stem):
            group.setdefault("file", stem)
    return {stem: group for stem, group in groups.items() if len({stem} & fields.keys() | {*group.values()}) > 1}


def _takes_base64(bare: str) -> bool:
    """Whether a bare media field takes the file itself. Videos are too large for a request in every operation."""
    return bare.rpartition("_")[2] != "video"


def _media_flag(stem: str, ways: dict[Way, str], fields: Mapping[str, Any], media: Mapping[str, Any]) -> Flag:
    names, short = [_hyphens(stem)], stem.rpartition("_")[2]
    alone = sum(other.rpartition("_")[2] == short for other in media) == 1
    if short != stem and short.isalpha() and alone and short not in fields:
        names.append(short)
    shown = {"file": "FILE", "url": "URL", "key": "minio:KEY"}
    words = {"file": "a file of this machine", "url": "an http(s) URL", "key": "minio:KEY of the bucket"}
    forms = [way for way in shown if way in ways or way == "file"]
    said = _said(fields[stem if stem in fields else ways["file"]]) if stem in fields or "file" in ways else ""
    about = f"{said or 'the ' + stem.replace('_', ' ')}; {', or '.join(words[way] for way in forms)}"
    options = {"type": media_type(ways), "metavar": "|".join(shown[way] for way in forms), "help": about}
    every = [name for name in (stem, *ways.values()) if name in fields]
    return Flag(tuple(names), tuple(dict.fromkeys(every)), options, ways=ways)


def _said(kind: Mapping[str, Any]) -> str:
    """What a media field is, without in which form it is sent."""
    return re.sub(r": .*| as base64| \(.*\)", "", kind.get("description", ""))


def _flag(name: str, kind: dict[str, Any], schema: Mapping[str, Any]) -> Flag:
    """The flag of a field that is not of a media group."""
    about = _help(name, kind, schema)
    names = (_hyphens(name),)
    if "enum" in kind:
        return Flag(names, (name,), {"choices": kind["enum"], "help": about})
    if kind.get("type") == "boolean":
        return Flag(names, (name,), {"action": argparse.BooleanOptionalAction, "help": about})
    if kind.get("type") in _TYPES:
        convert, metavar = _TYPES[kind["type"]]
        return Flag(names, (name,), {"type": convert, "metavar": metavar, "help": about})
    options = {"type": json_value, "metavar": "JSON|@FILE"}
    parts = kind.get("properties", {})
    if any(part.get("format") == "password" for part in parts.values()):
        variables = {part: f"{name}_{part}".upper() for part in parts}
        about += f". Best as --{names[0]} alone: what it lacks is read from {', '.join(variables.values())}"
        return Flag(names, (name,), {**options, "nargs": "?", "const": {}, "help": about}, secrets=variables)
    return Flag(names, (name,), {**options, "help": f"{about}; JSON text, or @ and a file of it"})


def _shorthands(fields: Mapping[str, Any]) -> Iterator[Flag]:
    """Boxes and points of a picture, one at a time and without brackets."""
    if "bboxes" in fields:
        about = "a box, corners in pixels; may be given again. Short for --bboxes"
        options = {"type": numbers_type(4, 4), "metavar": "X1,Y1,X2,Y2", "help": about}
        yield Flag(("box",), ("bboxes",), {**options, "action": "append"})
    if {"points", "point_labels"} <= fields.keys():
        about = "a point, pixels; label 1: belongs to it (default), 0: does not; may be given again"
        options = {"type": point, "metavar": "X,Y[,LABEL]", "help": about}
        yield Flag(("point",), ("points", "point_labels"), {**options, "action": "append"})


def _help(name: str, kind: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What the field is, its rule and its default, in a line. argparse takes `%` for its own."""
    about = [str(kind.get("description") or name.replace("_", " ")).rstrip(".")]
    least, most = kind.get("minimum"), kind.get("maximum")
    has_rule = all(re.search(rf"\b{re.escape(str(end))}\b", about[0]) for end in (least, most))  # in better words
    if least is not None and most is not None and most < _SAYS_NOTHING and not has_rule:
        about.append(f"{least} to {most}")
    if "multipleOf" in kind and not has_rule and "a multiple of" not in about[0]:
        about.append(f"a multiple of {kind['multipleOf']}")
    text = "; ".join(about)
    if name in schema.get("required", ()):
        text += " (required)"
    elif kind.get("default") is not None:
        shown = json.dumps(kind["default"], ensure_ascii=False)
        text += f" (default: {shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + '...'})"
    return text.replace("%", "%%")


def _resolved(kind: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema with `X | None` taken as X, and a reference as what it refers to."""
    options = [option for option in kind.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        kind = {**options[0], **{name: value for name, value in kind.items() if name != "anyOf"}}
    if "$ref" in kind:
        found = schema["$defs"][kind["$ref"].rsplit("/", 1)[-1]]
        kind = {**found, **{name: value for name, value in kind.items() if name != "$ref"}}
    return dict(kind)


def _hyphens(name: str) -> str:
    return name.replace("_", "-")
