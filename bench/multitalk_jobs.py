"""Jobs of multitalk for the benchmarks: files and requests, and a small picture for a CPU."""

import wave
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demo.sample import ASSETS
from demo.tiny_detectors import DETECTOR_FILE, POSE_FILE, write_tiny_detectors
from worker.finished import Expected
from worker.operations.base import Bound, Info
from worker.operations.multitalk import FIT, PICTURE, MultiTalk
from worker.timeline import TALK_FPS, VOICE_RATE


class SmallMultiTalk(MultiTalk):
    """The operation with its pinned graphs, but for the picture: side x side pixels whatever the request says.

    Core's ImageScale stands in the place of "Fit picture".
    """

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def expected(self, request: Any, infos: Mapping[str, Info]) -> Expected:
        return replace(super().expected(request, infos), width=self.side, height=self.side)

    def bind(self, request: Any, files: Mapping[str, str], infos: Mapping[str, Info], prompt_id: str) -> Bound:
        bound = super().bind(request, files, infos, prompt_id)
        by_title = {node["_meta"]["title"]: number for number, node in bound.prompt.items()}
        scale = {"image": [by_title[PICTURE[0]], 0], "upscale_method": "bilinear", "crop": "center"}
        fitted = bound.prompt[by_title[FIT[0]]]
        fitted |= {"class_type": "ImageScale", "inputs": scale | {"width": self.side, "height": self.side}}
        return bound


def request_of(frames: int, **changes: Any) -> dict[str, Any]:
    """Two people at once. frames: of a window. The files are picture.png, audio_1.wav and audio_2.wav."""
    voices = {f"{role}_minio_path": f"{role}.wav" for role in ("audio_1", "audio_2")}
    request = {"reference_image_minio_path": "picture.png", **voices, "prompt": "Two people talk.", "fps": 25}
    return request | {"audio_order": "together", "num_frames": frames} | changes


def make_files(folder: Path, frames: int, size: tuple[int, int]) -> dict[str, Path]:
    """{role: file}: a picture of width and height, and two voices so many frames long at 25 a second."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"image": folder / "picture.png"}
    Image.open(ASSETS / "person.png").convert("RGB").resize(size).save(files["image"])
    for number, role in enumerate(("audio_1", "audio_2")):
        files[role] = write_voice(folder / f"{role}.wav", frames * VOICE_RATE // TALK_FPS, number)
    return files


def write_voice(path: Path, samples: int, seed: int) -> Path:
    """Syllables of noise, two and a half a second, at other times for another seed; mono, 16 kHz, 16 bits."""
    draw = np.random.default_rng(seed)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, VOICE_RATE, 0, "NONE", ""))
        for start in range(0, samples, VOICE_RATE):
            times = np.arange(start, min(start + VOICE_RATE, samples)) / VOICE_RATE
            loud = np.maximum(0, np.sin(2 * np.pi * (2.5 * times + seed / 2)))
            sound = (0.2 * loud * draw.standard_normal(len(times))).clip(-1, 1)
            file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


def see_people(models: Path) -> None:
    """Detectors that see somebody in either half of every picture, in a models folder of the benchmark's own."""
    for name in (DETECTOR_FILE, POSE_FILE):
        (models / "detection" / name).unlink(missing_ok=True)  # never written through a link
    write_tiny_detectors(models / "detection", people=3)
