"""Encoded prompts on disk: a prompt that never changes does not cost the 6.7 GB text encoder.

A prompt is found by what made it: the sha256 of the encoder's file and the text. What was encoded goes to one
folder; further folders, which a deployment can ship with its weights, are only read.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

FORMAT = "comfy-motion prompt 1"
BLOCK = 1 << 22


class PromptCache:
    """CONDITIONINGs as safetensors files, `<key>.safetensors`, in `folder` and the read-only `shipped` folders."""

    def __init__(self, folder: Path, shipped: Sequence[Path] = ()):
        self.folder, self.shipped = Path(folder), [Path(path) for path in shipped]

    def find(self, encoder: Path, text: str) -> list | None:
        """The encoded prompt, or None. A file that cannot be read is as good as none, and is named in the log."""
        name = f"{prompt_key(self.encoder_hash(encoder), text)}.safetensors"
        for folder in (self.folder, *self.shipped):
            path = folder / name
            if path.is_file():
                try:
                    return read_conditioning(path)
                except Exception as error:
                    logging.warning("comfy-motion: %s is damaged (%s) and will be encoded again", path, error)
        return None

    def save(self, encoder: Path, text: str, conditioning: list) -> Path | None:
        """Writes what the encoder gave, whole or not at all. None if it holds something that cannot be written."""
        path = self.folder / f"{prompt_key(self.encoder_hash(encoder), text)}.safetensors"
        try:
            write_conditioning(path, conditioning)
        except (TypeError, OSError) as error:
            logging.warning("comfy-motion: the encoded prompt is not kept: %s", error)
            return None
        return path

    def encoder_hash(self, encoder: Path) -> str:
        """The sha256 of an encoder's file, remembered by its path, size and time of change.

        A file `<encoder>.sha256` beside it (as sha256sum writes, no older than the weights) is taken at its
        word: a fresh worker then does not read 6.7 GB only to learn that it need not read them.
        """
        stat = encoder.stat()
        beside = encoder.with_name(encoder.name + ".sha256")
        if beside.is_file() and beside.stat().st_mtime_ns >= stat.st_mtime_ns:
            stated = beside.read_text().split()[:1]
            if stated and len(stated[0]) == 64:
                return stated[0].lower()
        known_as = f"{encoder.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        memory = self.folder / "encoders.json"
        known = _read_json(memory)
        if known_as not in known:
            known[known_as] = file_sha256(encoder)
            _write_atomically(memory, json.dumps(known, indent=1).encode())
        return known[known_as]


def prompt_key(encoder_sha256: str, text: str) -> str:
    """The name of a prompt: 64 hex digits of the encoder's hash and the text's exact characters."""
    return hashlib.sha256(f"{FORMAT}\n{encoder_sha256}\n{text}".encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """64 hex digits; reads the file once, a few MB at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_conditioning(path: Path, conditioning: list) -> None:
    """A CONDITIONING as a safetensors file: tensors as such, plain options (None, text, numbers) as metadata.

    Raises TypeError naming an option that is neither.
    """
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    plain: list[dict[str, Any]] = []
    for index, (cond, options) in enumerate(conditioning):
        tensors[f"{index}.cond"] = cond
        plain.append({})
        for name, value in options.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.option.{name}"] = value
            elif value is None or isinstance(value, bool | int | float | str):
                plain[index][name] = value
            else:
                raise TypeError(f"option {name} of the conditioning is a {type(value).__name__}")
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One entry only: safetensors writes several in random order, and equal prompts are to be equal files.
    _write_atomically(path, save(contiguous, metadata={FORMAT: json.dumps(plain)}))


def read_conditioning(path: Path) -> list:
    """What `write_conditioning` wrote. Raises whatever safetensors says of a damaged file, or ValueError."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if FORMAT not in metadata:
            raise ValueError(f"it is not of the format {FORMAT!r}")
        conditioning = []
        for index, options in enumerate(json.loads(metadata[FORMAT])):
            mine = f"{index}.option."
            named = {key.removeprefix(mine): file.get_tensor(key) for key in file.keys() if key.startswith(mine)}  # noqa: SIM118
            conditioning.append([file.get_tensor(f"{index}.cond"), options | named])
    if not conditioning:
        raise ValueError("it holds no prompt")
    return conditioning


def _read_json(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_atomically(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, never a part; two writers do not disturb one another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
