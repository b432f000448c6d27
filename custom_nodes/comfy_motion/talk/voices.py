"""The voices as MultiTalk hears them: mono, 16 kHz, each at its loudness and in its place in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..errors import MotionError
from ..video.sound import Sound
from .loudness import set_loudness
from .resample import resampled, resampled_length
from .sounds import format_of, pieces
from .trim import speech_range

SAMPLE_RATE = 16000
"""Hz, of the audio encoder."""
FPS = 25
"""Frames a second of MultiTalk's video and of its voice features."""
LOUDNESS = -23.0
"""LUFS, of each voice on its own."""
ORDERS = ("one_after_another", "together")


@dataclass(frozen=True)
class Voices:
    """One or two voices of one length.

    speech: float32 [n] each, mono at 16 kHz, zeros where the other one speaks; person 1 first.
    """

    speech: tuple[np.ndarray, ...]
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        shapes = {voice.shape for voice in self.speech}
        if len(self.speech) not in (1, 2) or len(shapes) != 1 or len(shapes.pop()) != 1:
            raise ValueError(f"one or two voices of one length are needed, not {[v.shape for v in self.speech]}")

    @property
    def num_voices(self) -> int:
        return len(self.speech)

    @property
    def num_frames(self) -> int:
        """Whole frames of video at 25 a second: the sound's last part of a frame (under 0.04 s) has no frame.

        The published int(samples / 16000 * 25), in integers: its binary fractions lose a frame now and then (1.16 s
        has 29 frames and gives 28).
        """
        return len(self.speech[0]) * FPS // self.sample_rate

    @property
    def seconds(self) -> Fraction:
        return Fraction(len(self.speech[0]), self.sample_rate)


@dataclass(frozen=True)
class Placed:
    """A voice's source in the result: the part of it that is heard, and the 16 kHz sample at which it begins."""

    sound: Sound
    begin: int


def read_speech(sound: Sound) -> np.ndarray:
    """A sound as float32 [ceil(n * 16000 / rate)]: the mean of its channels, resampled by soxr HQ (librosa.load).

    All channels weigh the same, the low one of 5.1 too; the loudness set afterwards undoes the scale.
    Raises MotionError sound_unreadable.
    """
    rate = format_of(sound).rate
    count = round(sound.duration * rate)
    speech = np.zeros(resampled_length(count, rate, SAMPLE_RATE), np.float32)
    at = 0
    for piece in resampled((part.mean(0, keepdims=True) for part in pieces(sound)), rate, SAMPLE_RATE):
        speech[at : at + piece.shape[1]] = piece[0]
        at += piece.shape[1]
    return speech


def prepare_voices(
    sounds: Sequence[Sound], order: str, target_loudness: float = LOUDNESS, trim_silence: bool = False
) -> tuple[Voices, tuple[Placed, ...]]:
    """The voices of one or two persons, and where each one's source lies in the result.

    order: one_after_another or together (see in_order). target_loudness: LUFS, of each voice on its own before it is
    put into its place; 0 leaves them. trim_silence: leading and trailing silence is cut by trim.speech_range.
    Raises MotionError no_voice, voice_too_short, sound_unreadable, invalid_value.
    """
    speech: list[np.ndarray] = []
    kept: list[Sound] = []
    for number, sound in enumerate(sounds, 1):
        voice = read_speech(sound)
        if trim_silence:
            first, end = speech_range(voice, SAMPLE_RATE)
            begins = sound.start + Fraction(first, SAMPLE_RATE)
            sound = Sound(sound.path, sound.stream, begins, min(sound.end, sound.start + Fraction(end, SAMPLE_RATE)))
            voice = voice[first:end]
        speech.append(set_loudness(voice, SAMPLE_RATE, target_loudness, f"Voice {number}"))
        kept.append(sound)
    placed, begins = in_order(speech, order)
    return Voices(placed), tuple(Placed(sound, begin) for sound, begin in zip(kept, begins, strict=True))


def in_order(speech: Sequence[np.ndarray], order: str) -> tuple[tuple[np.ndarray, ...], tuple[int, ...]]:
    """Voices [n_i] in their order, all of one length, and the sample at which each begins.

    one_after_another: person 1, then person 2; the length is the sum. together: both from 0; the shorter one is padded
    with zeros to the longer (MultiTalk's published code raises ValueError there). Elsewhere a voice is zeros.
    """
    if order not in ORDERS:
        raise MotionError("invalid_value", f"The order {order!r} is none of {', '.join(ORDERS)}.", "Choose one.")
    lengths = [len(voice) for voice in speech]
    after = order == "one_after_another"
    begins = tuple(sum(lengths[:number]) if after else 0 for number in range(len(lengths)))
    total = sum(lengths) if after else max(lengths)
    placed = []
    for voice, begin in zip(speech, begins, strict=True):
        line = np.zeros(total, np.float32)
        line[begin : begin + len(voice)] = voice
        placed.append(line)
    return tuple(placed), begins
