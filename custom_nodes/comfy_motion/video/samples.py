"""A sound's samples, decoded piece by piece and set to their places in time."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.error import PermissionError as SeekRefused

from .index import clock, reason, unreadable
from .sound import Sound

# Containers round times; a smaller step between two pieces of sound is rounding, not a gap.
JITTER = Fraction(1, 50)
# A decoder needs packets before the first one that is heard: AAC overlaps two frames, MP3 borrows earlier bits.
_LEAD_IN = Fraction(1, 4)


def samples(
    source: InputContainer, stream: AudioStream, sound: Sound, rate: int, layout: str | None
) -> Iterator[np.ndarray]:
    """Exactly round(duration * rate) samples, float32 [channels, n], piece by piece; what is missing is silence.

    rate: Hz. layout: libav's name of a channel layout, to which the channels are mixed; None = the source's own.
    Raises MotionError video_unreadable.
    """
    channels = av.AudioLayout(layout or stream.codec_context.layout).nb_channels
    total, written = round(sound.duration * rate), 0
    for first, piece in placed(source, stream, sound, rate, layout):
        if first > written:
            gap = min(first, total) - written
            yield from silence(channels, gap)
            written += gap
        piece = piece[:, max(0, written - first) : max(0, total - first)]
        if piece.shape[1]:
            yield np.ascontiguousarray(piece)
            written += piece.shape[1]
        if written >= total:
            return
    yield from silence(channels, total - written)


def placed(
    source: InputContainer, stream: AudioStream, sound: Sound, rate: int, layout: str | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of sound, float32 [channels, n], each with the number of its first sample counted from `sound.start`.

    They follow each other, but where the source has a hole; the first can lie before `start`.
    """
    position = None  # where on the output's own clock, in samples, the next decoded piece begins
    for piece, begins in _decoded(source, stream, sound, rate, layout):
        at = round((begins - sound.start) * rate)
        if position is None or abs(at - position) > JITTER * rate:
            position = at
        yield position, piece
        position += piece.shape[1]


def silence(channels: int, count: int, piece: int = 48000) -> Iterator[np.ndarray]:
    """`count` zeros a channel, float32 [channels, n], at most `piece` at a time."""
    for start in range(0, count, piece):
        yield np.zeros((channels, min(piece, count - start)), np.float32)


def _decoded(
    source: InputContainer, stream: AudioStream, sound: Sound, rate: int, layout: str | None
) -> Iterator[tuple[np.ndarray, Fraction]]:
    """Pieces of sound, float32 [channels, n] at `rate`, each with its time on the file's clock in seconds."""
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    _seek(source, stream, sound.start - _LEAD_IN - 1)
    begins: Fraction | None = None
    try:
        for frame in source.decode(stream):
            if frame.pts is not None:
                begins = frame.pts * clock(stream)
            begins = begins or Fraction(0)
            if begins >= sound.end:
                return
            time = begins
            for piece in resampler.resample(frame):
                part = piece.to_ndarray()
                yield part, time
                time += Fraction(part.shape[1], rate)
            begins += Fraction(frame.samples, frame.sample_rate)
    except FFmpegError as error:
        what = f"has sound that cannot be decoded at second {float(begins or 0):.2f}: {reason(error)}."
        raise unreadable(sound.path, what) from error


def _seek(source: InputContainer, stream: AudioStream, second: Fraction) -> None:
    """To where decoding has to start for what is heard from `second` on."""
    try:
        source.seek(int(second / clock(stream)), stream=stream)
    except SeekRefused:  # MP3 and bare AAC have nothing before their beginning
        source.seek(stream.start_time or 0, stream=stream)
