"""Small real sound files for the tests of the voices."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CODECS = {
    **{"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus", "m4a": "aac", "aac": "aac"},
    **{"aiff": "pcm_s16be", "au": "pcm_s16be", "caf": "pcm_s16le", "mkv": "libopus", "mp4": "aac", "w64": "pcm_s16le"},
    **{"ts": "aac", "webm": "libopus", "mov": "aac", "flv": "aac", "avi": "pcm_s16le"},
}
"""What each container is filled with."""


def tone(samples: int, rate: int, level: float = 0.3) -> np.ndarray:
    """float32 [samples]: two notes that come and go, as syllables do."""
    time = np.arange(samples) / rate
    return (level * np.sin(2 * np.pi * 220 * time) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def write_sound(
    path: Path, samples: np.ndarray, rate: int, codec: str = "", container: str | None = None, picture: bool = False
) -> Path:
    """samples: float32 [n] or [channels, n]. A picture, where it is asked for, is 5 frames a second of noise."""
    rows = np.atleast_2d(samples)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(rows)]
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec or CODECS[path.suffix[1:]], rate=rate, layout=layout)
        video = out.add_stream("libx264" if path.suffix != ".webm" else "libvpx", rate=5) if picture else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            for index in range(rows.shape[1] * 5 // rate):
                pixels = np.random.default_rng(index).integers(0, 255, (64, 96, 3), np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 5)
                out.mux(video.encode(frame))
            out.mux(video.encode())
        for start in range(0, rows.shape[1], 1024):
            piece = np.ascontiguousarray(rows[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path
