"""The sound that belongs to a range of a video."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .index import opened


@dataclass(frozen=True)
class Sound:
    """One audio track of a file, `start` to `end` in seconds on the file's own clock (not from its first frame)."""

    path: str
    stream: int
    start: Fraction
    end: Fraction

    @property
    def duration(self) -> Fraction:
        return self.end - self.start


def find_sound(path: str | Path, start: Fraction, end: Fraction) -> Sound | None:
    """The file's first audio track that can be decoded, start..end on the file's clock; None when it has none."""
    with opened(path) as container:
        for stream in container.streams.audio:
            # Phones add tracks no decoder exists for (spatial audio); decoding those would crash.
            if stream.codec_context is not None and stream.codec_context.sample_rate:
                return Sound(str(path), stream.index, start, end)
    return None
