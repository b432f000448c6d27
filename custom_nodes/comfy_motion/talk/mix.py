"""The result's sound: the voices' own recordings, not what the model hears of them."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..scratch import scratch_folder
from ..video.samples import silence
from ..video.sound import Sound
from .resample import resampled
from .sounds import SoundFormat, format_of, pieces
from .voices import SAMPLE_RATE, Placed

_BLOCK = 48000
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
MOST_CHANNELS = max(_LAYOUTS)


def result_sound(placed: Sequence[Placed], samples: int) -> Sound:
    """What is heard in the result, `samples` of 16 kHz long.

    One voice: its source as it is, so that its packets can be copied. Two: a WAV of both in the prompt's scratch
    folder, at the higher of their rates, stereo when either has more than one channel, levels as in the sources; all
    of it is turned down only where the sum would clip. It lasts as long as the voices; Save MP4 cuts it, as every
    sound, to its frames, so the last part of a frame (under 0.04 s) is not heard.
    """
    if len(placed) == 1:
        return placed[0].sound
    formats = [format_of(voice.sound) for voice in placed]
    rate = max(form.rate for form in formats)
    channels = 2 if any(form.channels > 1 for form in formats) else 1
    total = round(Fraction(samples, SAMPLE_RATE) * rate)
    peak = max(
        (float(np.abs(block).max(initial=0)) for block in _sum(placed, formats, rate, channels, total)), default=0
    )
    gain = np.float32(1 / peak if peak > 1 else 1)
    if peak > 1:
        logging.info("The voices' sum would clip: all of it is turned down by %.1f dB", 20 * np.log10(peak))
    path = scratch_folder("sound") / "voices.wav"
    write_wav(path, (block * gain for block in _sum(placed, formats, rate, channels, total)), rate, channels)
    return Sound(str(path), 0, Fraction(0), Fraction(total, rate))


def write_wav(path: Path, blocks: Iterable[np.ndarray], rate: int, channels: int) -> None:
    """Pieces float32 [channels, n] into a WAV of 32-bit floats, `rate` Hz; channels: at most MOST_CHANNELS."""
    layout = _LAYOUTS[channels]
    with av.open(str(path), "w", format="wav", options={"rf64": "auto"}) as output:
        stream = output.add_stream("pcm_f32le", rate=rate, layout=layout)
        written = 0
        for block in blocks:
            packed = np.ascontiguousarray(block.T, dtype=np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, written, Fraction(1, rate)
            written += block.shape[1]
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def _sum(
    placed: Sequence[Placed], formats: Sequence[SoundFormat], rate: int, channels: int, total: int
) -> Iterator[np.ndarray]:
    """The voices' sum float32 [channels, n], `total` samples at `rate`, a block at a time."""
    tracks = [_track(voice, form, rate, channels, total) for voice, form in zip(placed, formats, strict=True)]
    for blocks in zip(*tracks, strict=True):
        yield np.stack(blocks).sum(axis=0)


def _track(voice: Placed, form: SoundFormat, rate: int, channels: int, total: int) -> Iterator[np.ndarray]:
    """One voice at its place between zeros: blocks of one size, the last one shorter."""
    # One channel is heard from both sides at its own level; libav would make it 3 dB quieter.
    heard = resampled(pieces(voice.sound, "mono" if form.channels == 1 else "stereo"), form.rate, rate)
    lead = round(Fraction(voice.begin, SAMPLE_RATE) * rate)

    def line() -> Iterator[np.ndarray]:
        yield from silence(channels, lead)
        for piece in heard:
            yield np.broadcast_to(piece, (channels, piece.shape[1]))
        while True:
            yield np.zeros((channels, _BLOCK), np.float32)

    return _blocks(line(), channels, total)


def _blocks(line: Iterator[np.ndarray], channels: int, total: int) -> Iterator[np.ndarray]:
    """The first `total` samples of an endless line of pieces, in blocks of _BLOCK."""
    rest = np.zeros((channels, 0), np.float32)
    for start in range(0, total, _BLOCK):
        size = min(_BLOCK, total - start)
        held = [rest]
        while sum(piece.shape[1] for piece in held) < size:
            held.append(next(line))
        joined = np.concatenate(held, axis=1)
        yield joined[:, :size]
        rest = joined[:, size:]
