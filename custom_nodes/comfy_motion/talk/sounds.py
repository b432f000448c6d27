"""A voice's file: where its sound begins and ends, to the sample, and its samples piece by piece."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from av.audio.stream import AudioStream
from PIL import Image

from ..errors import MotionError
from ..video.index import clock, only, opened, reason
from ..video.samples import placed, samples
from ..video.sound import Sound, find_sound

_WITHOUT_END = Fraction(10**9)


class SoundFormat(NamedTuple):
    """rate: samples a second (Hz); channels: of each sample."""

    rate: int
    channels: int


def load_sound(path: str | Path) -> Sound:
    """The first audio track of a file, from its own first sample to the end of its last.

    In a video, too: a track that begins late or ends early is not filled up. All of it is decoded once, because headers
    only promise lengths (MP3, cut-off files), and so that what is damaged is refused before anything is computed.
    Raises MotionError sound_unreadable, no_sound.
    """
    try:
        found = find_sound(path, Fraction(0), _WITHOUT_END)
    except MotionError as error:
        if _is_picture(path):
            raise _no_sound(path, "is a picture") from error
        raise _unreadable(path, f"cannot be opened: {_why(error)}.") from error
    if found is None:
        raise _no_sound(path, "has no audio track that can be decoded")
    return _extent(found)


def format_of(sound: Sound) -> SoundFormat:
    """Rate and channels of a sound, from its file's header."""
    with opened(sound.path) as source:
        context = cast(AudioStream, source.streams[sound.stream]).codec_context
        return SoundFormat(context.sample_rate, context.layout.nb_channels)


def pieces(sound: Sound, layout: str | None = None) -> Iterator[np.ndarray]:
    """The sound at its own rate, float32 [channels, n], full scale 1, round(duration * rate) samples in all.

    layout: "mono" or "stereo" = mixed by libav; None = the source's own channels.
    Raises MotionError sound_unreadable, with the second.
    """
    done = 0
    rate = 1
    try:
        with opened(sound.path) as source:
            stream = cast(AudioStream, source.streams[sound.stream])
            only(source, stream)
            rate = stream.codec_context.sample_rate
            for piece in samples(source, stream, sound, rate, layout):
                yield _checked(sound.path, piece, done / rate)
                done += piece.shape[1]
    except (MotionError, ValueError) as error:
        raise _cannot_decode(sound.path, error, done / rate) from error


def _extent(sound: Sound) -> Sound:
    """The sound from its first sample to the end of its last, on the file's clock."""
    first: int | None = None
    end, rate = 0, 1
    try:
        with opened(sound.path) as source:
            stream = cast(AudioStream, source.streams[sound.stream])
            only(source, stream)
            rate = stream.codec_context.sample_rate
            origin = (stream.start_time or 0) * clock(stream)
            whole = Sound(sound.path, sound.stream, origin, _WITHOUT_END)
            for at, piece in placed(source, stream, whole, rate, None):
                first = at if first is None else min(first, at)
                _checked(sound.path, piece, (at - first) / rate)
                end = max(end, at + piece.shape[1])
    except (MotionError, ValueError) as error:
        raise _cannot_decode(sound.path, error, (end - (first or 0)) / rate) from error
    if first is None or first == end:
        raise _no_sound(sound.path, "has an audio track without a single sample")
    return Sound(sound.path, sound.stream, origin + Fraction(first, rate), origin + Fraction(end, rate))


def _checked(path: str, piece: np.ndarray, second: float) -> np.ndarray:
    if not np.isfinite(piece).all():
        raise _unreadable(path, f"has samples that are not numbers (NaN or infinite) near second {second:.2f}.")
    return piece


def _is_picture(path: str | Path) -> bool:
    try:
        with Image.open(path):
            return True
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def _no_sound(path: str | Path, what: str) -> MotionError:
    return MotionError(
        "no_sound",
        f"The voice's file {Path(path).name} {what}.",
        "Choose a sound file (WAV, MP3, M4A, FLAC, OGG) or a video with sound.",
    )


def _unreadable(path: str | Path, what: str) -> MotionError:
    return MotionError(
        "sound_unreadable",
        f"The sound {Path(path).name} {what}",
        "Check that the file plays to its end in a player, or convert it to WAV or FLAC.",
    )


def _cannot_decode(path: str, error: Exception, second: float) -> MotionError:
    if isinstance(error, MotionError) and error.code == "sound_unreadable":
        return error
    return _unreadable(path, f"cannot be decoded at second {second:.2f}: {_why(error)}.")


def _why(error: Exception) -> str:
    """libav's own words."""
    return reason(error.__cause__ if isinstance(error.__cause__, Exception) else error)
