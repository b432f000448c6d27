"""How loud a voice is (ITU-R BS.1770, K-weighted and gated, in LUFS), and bringing it to the level that is expected."""

import warnings
from math import isfinite, log10

import numpy as np
import pyloudnorm

from ..errors import MotionError

BLOCK_SECONDS = 0.4
"""Of one measurement in BS.1770; a shorter sound has no loudness."""


def loudness(speech: np.ndarray, rate: int) -> float:
    """Integrated loudness of mono sound [n], LUFS; -inf when no 0.4 s of it are above BS.1770's gate of -70 LUFS.

    It needs at least 0.4 s (ValueError).
    """
    return float(pyloudnorm.Meter(rate, block_size=BLOCK_SECONDS).integrated_loudness(speech))


def set_loudness(speech: np.ndarray, rate: int, target: float, name: str) -> np.ndarray:
    """The voice float32 [n] at `target` LUFS; 0 leaves it as it is. No limiter: peaks above 1 happen, as in MultiTalk's
    published code, whose encoder was trained on them.

    name: of the voice, in the refusals. Raises MotionError voice_too_short (under 0.4 s), no_voice (silence only).
    """
    seconds = len(speech) / rate
    if len(speech) < BLOCK_SECONDS * rate:
        raise MotionError(
            "voice_too_short",
            f"{name} is {seconds:.2f} s long, and loudness is measured over {BLOCK_SECONDS:g} s.",
            f"Give {name.lower()} a longer recording.",
        )
    measured = loudness(speech, rate)
    if not isfinite(measured):
        raise MotionError(
            "no_voice",
            f"{name} is silent: nothing in its {seconds:.2f} s is above -70 LUFS, and its peak is {_peak(speech)}.",
            f"Check the recording of {name.lower()}: a microphone that was off, or the wrong audio track.",
        )
    # The published rule leaves what is further than 100 LUFS from full scale; silence is all that can be, see above.
    if not target or abs(measured) > 100:
        return speech
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "possible clipped samples": meant, see above
        return pyloudnorm.normalize.loudness(speech, measured, target).astype(np.float32)


def _peak(speech: np.ndarray) -> str:
    peak = float(np.abs(speech).max(initial=0.0))
    return f"{20 * log10(peak):.1f} dBFS" if peak else "digital zero"
