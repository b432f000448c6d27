"""Another sampling rate, piece by piece: soxr at its high quality, as librosa.load resamples.

soxr is a stream: its output does not depend on how the input is cut into pieces, and only a few thousand samples are
held. One sample of the result stands for the same instant as before (no delay is added).
"""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

QUALITY = "HQ"


def resampled_length(count: int, source_rate: int, rate: int) -> int:
    """Samples at `rate` of `count` samples at `source_rate` (Hz): librosa's rule, ceil(count * rate / source_rate)."""
    return -(-count * rate // source_rate)


def resampled(pieces: Iterable[np.ndarray], source_rate: int, rate: int) -> Iterator[np.ndarray]:
    """Pieces float32 [channels, n] at `source_rate` Hz as pieces at `rate` Hz, resampled_length() samples in all."""
    if source_rate == rate:
        yield from pieces
        return
    stream: soxr.ResampleStream | None = None
    channels = read = written = 0
    for piece in pieces:
        if stream is None:
            channels = piece.shape[0]
            stream = soxr.ResampleStream(source_rate, rate, channels, dtype="float32", quality=QUALITY)
        read += piece.shape[1]
        out = stream.resample_chunk(np.ascontiguousarray(piece.T, np.float32)).T
        written += out.shape[1]
        if out.shape[1]:
            yield out
    if stream is None:
        return
    # soxr rounds to the nearest length, librosa up: the last sample is then a zero.
    missing = resampled_length(read, source_rate, rate) - written
    last = stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T[:, :missing]
    yield np.pad(last, ((0, 0), (0, missing - last.shape[1])))
