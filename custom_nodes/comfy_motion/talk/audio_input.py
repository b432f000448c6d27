"""ComfyUI's AUDIO, a tensor in memory, as a sound in a file."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import torch

from ..errors import MotionError
from ..scratch import scratch_folder
from ..video.sound import Sound
from .mix import MOST_CHANNELS, write_wav

_BLOCK = 48000


def audio_to_sound(waveform: torch.Tensor | None, rate: int) -> Sound:
    """waveform [1, channels, n] or None, full scale 1, at `rate` Hz, as a WAV in the prompt's scratch folder.

    Raises MotionError no_sound (None or no sample), invalid_value (several recordings, more than 8 channels),
    sound_unreadable (NaN).
    """
    if waveform is None or not waveform.numel():
        raise MotionError(
            "no_sound",
            "The AUDIO that is given has no sound in it: its source had no audio track, or was cut to nothing.",
            "Look at the node that makes it; a video without sound gives an empty AUDIO.",
        )
    count, channels, samples = waveform.shape
    if count != 1 or channels > MOST_CHANNELS:
        raise MotionError(
            "invalid_value",
            f"The AUDIO that is given has {count} recordings of {channels} channels; a voice is one recording of at "
            f"most {MOST_CHANNELS} channels.",
            "Give each recording its own node.",
        )
    if not torch.isfinite(waveform).all():
        raise MotionError(
            "sound_unreadable",
            "The AUDIO that is given has samples that are not numbers (NaN or infinite).",
            "Look at the node that makes it.",
        )

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, samples, _BLOCK):
            yield waveform[0, :, start : start + _BLOCK].float().cpu().numpy()

    path = scratch_folder("sound") / "audio.wav"
    write_wav(path, blocks(), rate, channels)
    return Sound(str(path), 0, Fraction(0), Fraction(samples, rate))
