"""Where in a recording the speech is: what trim_silence keeps."""

import numpy as np

BLOCK_SECONDS = 0.02
"""Over which the level is measured."""
BELOW_LOUDEST = 40.0
"""dB under the loudest block's level that still count as speech: above a room's noise, below a soft consonant."""
MARGIN_SECONDS = 0.1
"""Kept before the first and after the last block of speech, for a breath and the end of a word."""


def speech_range(speech: np.ndarray, rate: int) -> tuple[int, int]:
    """First sample and the one after the last of what is kept of mono sound [n].

    Blocks of 20 ms count as speech when their RMS level is at most 40 dB under the loudest block's; kept is everything
    from 0.1 s before the first to 0.1 s after the last of them. Pauses between words stay. Silence is kept whole.
    """
    size = round(BLOCK_SECONDS * rate)
    levels = np.array([float(np.square(speech[at : at + size]).mean()) for at in range(0, len(speech), size)])
    if not levels.size or not levels.max():
        return 0, len(speech)
    loud = np.flatnonzero(levels >= levels.max() * 10 ** (-BELOW_LOUDEST / 10))
    margin = round(MARGIN_SECONDS * rate)
    return max(0, int(loud[0]) * size - margin), min(len(speech), (int(loud[-1]) + 1) * size + margin)
