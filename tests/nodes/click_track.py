"""A click track and the flashes that belong to it, and when each is to be heard and seen in a finished MP4."""

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from scipy.signal import find_peaks, oaconvolve

from custom_nodes.comfy_motion.video.frames import Frames

SOURCE_FPS = 25
"""Of the model's frames."""
LENGTH = 60
FIRST, EVERY, LIT = 25, 31, 5
"""Frames at 25 a second: of the first flash, from flash to flash, and how long one is. 31 meets every rate in
ever other phases; 5 are longer than a frame at 7 a second, so that no flash is stepped over."""
FLASHES = [Fraction(n, SOURCE_FPS) for n in range(FIRST, LENGTH * SOURCE_FPS - LIT, EVERY)]
"""Seconds at which a flash and its click begin."""


class Flashes(Frames):
    """A minute of frames at 25 a second, dark but for the flashes; made as they are read."""

    width = height = 32
    num_frames, fps = LENGTH * SOURCE_FPS, Fraction(SOURCE_FPS)

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.check_range(start, stop)
        since = torch.arange(start, stop) - FIRST
        lit = (since >= 0) & (since % EVERY < LIT)
        return (16 + 224 * lit.to(torch.uint8)).reshape(-1, 1, 1, 1).expand(-1, self.height, self.width, 3).contiguous()


def click(rate: int) -> np.ndarray:
    """30 ms that rise from 400 to 4000 Hz: its like is found again to a fraction of a millisecond."""
    times = np.arange(round(0.03 * rate)) / rate
    return 0.7 * np.sin(2 * np.pi * (400 * times + 60_000 * times**2))


def clicks(rate: int, length: int = LENGTH) -> np.ndarray:
    """The click track, float32 [n]; its clicks begin at the FLASHES to the sample."""
    sound = np.zeros(length * rate + rate, np.float32)
    for at in FLASHES:
        begin = round(at * rate)
        sound[begin : begin + len(click(rate))] = click(rate)
    return sound[: length * rate]


def write_wav(path: Path, sound: np.ndarray, rate: int) -> Path:
    """16 bits, one channel. sound: float32 [n]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


def write_aac(path: Path, sound: np.ndarray, rate: int) -> Path:
    """AAC in an MP4 without a picture, as phones record it. sound: float32 [n]."""
    with av.open(str(path), "w") as output:
        track = output.add_stream("aac", rate=rate, layout="mono")
        for at in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(sound[None, at : at + 1024].copy(), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return path


def seen_flashes(path: Path) -> np.ndarray:
    """Presentation time of the first frame of each flash, seconds."""
    with av.open(str(path)) as source:
        frames = [(frame.time, memoryview(frame.planes[0])[0] > 128) for frame in source.decode(video=0)]
    begins = [time for (time, lit), (_, before) in zip(frames[1:], frames, strict=False) if lit and not before]
    return np.array(begins)


def heard_clicks(path: Path) -> np.ndarray:
    """When each click of a file begins, seconds."""
    with av.open(str(path)) as source:
        pieces = [(frame.time, frame.sample_rate, frame.to_ndarray()[0]) for frame in source.decode(audio=0)]
    begin, rate, _ = pieces[0]
    samples = np.cumsum([0, *(len(piece) for _, _, piece in pieces[:-1])])
    assert all(abs(time - begin - at / rate) < 1e-3 for at, (time, _, _) in zip(samples, pieces, strict=True)), "a hole"
    return begin + clicks_in(np.concatenate([piece for _, _, piece in pieces]), rate)


def clicks_in(sound: np.ndarray, rate: int) -> np.ndarray:
    """When each click begins, seconds: where the sound [n] is most like one, between samples by a parabola."""
    alike = oaconvolve(sound, click(rate)[::-1])[len(click(rate)) - 1 :]
    peaks, _ = find_peaks(alike, height=alike.max() / 2, distance=rate // 2)
    before, at, after = alike[peaks - 1], alike[peaks], alike[peaks + 1]
    return (peaks + (before - after) / 2 / (before - 2 * at + after)) / rate
