"""Small real videos for the tests of the inputs, and the error that a call ends in."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from worker.errors import JobError


def write_video(path: Path, frames=12, fps=24, sound=False, container=None, faststart=False, picture=True) -> Path:
    """A small real video; the picture wanders so that its bytes do not vanish."""
    options = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", format=container, options=options) as out:
        if picture:
            video = out.add_stream("libx264", rate=fps)
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = out.add_stream("aac", rate=16000) if sound else None
        for index in range(frames if picture else 0):
            pixels = np.random.default_rng(index).integers(0, 255, (64, 96, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            out.mux(video.encode(frame))
        if picture:
            out.mux(video.encode())
        if audio:
            for start in range(0, 16000 * frames // fps, 1024):
                block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 16000, start, Fraction(1, 16000)
                out.mux(audio.encode(block))
            out.mux(audio.encode())
    return path


def code_of(call) -> JobError:
    with pytest.raises(JobError) as error:
        call()
    return error.value
