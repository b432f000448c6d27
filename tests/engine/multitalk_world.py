"""Pictures, voices and requests for whole multitalk jobs: the shared samples where they are, else some drawn here."""

import base64
import functools
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SHARED = Path(__file__).parents[3] / "shared" / "samples"
SIZE = (832, 464)
"""Of the video: 480p in the sample picture's shape, 16:9."""
BOXES = [[0, 18, 1372, 1440], [1556, 228, 2560, 1440]]
"""Where the two people are, in pixels of the picture."""
POINTS = [[700, 500], [2200, 500]]
"""Their faces."""
WINDOW = 5
"""Frames: the shortest window there is, a second at 832x464 on one processor instead of an hour."""
RATE = 44_100

DOCUMENT = """
{
    "input": {
        "reference_image": image_base64,
        "audio_1": audio1_base64,
        "prompt": "Two people having a friendly conversation",
        "num_frames": 100,
        "seed": 42,
        "sampling_steps": 20
    }
}
"""
"""The request of seeds/003, word for word; the two bare names are variables there."""


def document(image: str, voice: str) -> dict[str, Any]:
    """The fields of DOCUMENT's `input` with these two in base64."""
    import json

    filled = DOCUMENT.replace("image_base64", json.dumps(image)).replace("audio1_base64", json.dumps(voice))
    return json.loads(filled)["input"]


@functools.cache
def two_people() -> bytes:
    """A picture of 2560x1440 with a person on the left and one on the right."""
    sample = SHARED / "two_people.jpg"
    return sample.read_bytes() if sample.is_file() else encoded(_two_figures(), "JPEG")


def grey() -> bytes:
    """A picture with nobody in it."""
    return encoded(Image.new("RGB", (832, 464), (128, 128, 128)), "PNG")


def one_person() -> bytes:
    """The project's own picture of somebody before a backdrop."""
    from demo.sample import ASSETS

    return (ASSETS / "person.png").read_bytes()


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def _two_figures() -> Image.Image:
    """Two dark figures with light faces before a lighter wall."""
    pixels = np.full((1440, 2560, 3), (200, 195, 185), np.uint8)
    for left, top, right, bottom in BOXES:
        pixels[top + 500 : bottom, left:right] = (40, 60, 90)
        middle = (left + right) // 2
        pixels[top : top + 560, middle - 230 : middle + 230] = (150, 110, 90)
    return Image.fromarray(pixels)


def voice(number: int, seconds: float, start: float = 0.2) -> bytes:
    """A WAV of as many seconds of a voice, 44.1 kHz, stereo: of the sample, else hummed in syllables."""
    count = round(seconds * RATE)
    sample = SHARED / f"voice_{number}.wav"
    if sample.is_file():
        with wave.open(str(sample)) as file:
            assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 2, 2)
            file.readframes(round(start * RATE))
            samples = file.readframes(count)
    else:
        times = np.arange(count) / RATE
        syllables = np.clip(np.sin(2 * np.pi * 3 * times), 0, 1)
        hum = sum(np.sin(2 * np.pi * (90 + 60 * number) * harmonic * times) / harmonic for harmonic in range(1, 9))
        samples = np.repeat((6000 * syllables * hum).astype("<i2"), 2).tobytes()
    return wav(samples)


def wav(samples: bytes, rate: int = RATE, channels: int = 2, width: int = 2) -> bytes:
    """Samples of `width` bytes as a file."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples)
    return made.getvalue()


def silence(seconds: float) -> bytes:
    """Nothing, in telephone quality: minutes of it fit into a request."""
    return wav(b"\x80" * round(seconds * 8000), rate=8000, channels=1, width=1)


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def brief(**fields: Any) -> dict[str, Any]:
    """A request with the sample picture and half a second of the first voice: 12 frames in windows of 5."""
    return {
        "operation": "multitalk",
        "reference_image": base64_of(two_people()),
        "audio_1": base64_of(voice(1, 0.5)),
        "prompt": "Two people having a friendly conversation",
        "num_frames": WINDOW,
        "sampling_steps": 2,
        **fields,
    }
