"""How a video that is longer than one generation is made in chunks and put together again: pure arithmetic.

Frames are numbered over the whole range. Neighbouring chunks both make the `overlap` frames at their seam, from the
same moments of the driving video, and the two versions are crossfaded there; so each frame is shown exactly once.
"""

from dataclasses import dataclass

import torch

# MimicMotion was trained on 16 poses at a time: nothing shorter is generated where the video has as many.
SHORTEST = 16


@dataclass(frozen=True)
class Chunk:
    """Frames start..stop-1, generated together.

    skip: how many of its first frames are generated and not shown: a short last chunk is begun earlier with them.
    fade: how many frames after those are crossfaded with the last `fade` frames of the chunk before (0 in the first).
    """

    start: int
    stop: int
    fade: int = 0
    skip: int = 0

    @property
    def num_frames(self) -> int:
        return self.stop - self.start

    @property
    def shown(self) -> int:
        """The first frame in which this chunk is seen, numbered over the whole range."""
        return self.start + self.skip


def plan_chunks(total: int, length: int, overlap: int, shortest: int = SHORTEST) -> list[Chunk]:
    """Chunks of `length` frames that cover the frames 0..total-1, `overlap` of them shared at each seam.

    The last chunk is as short as what is left, but never below `shortest` (or length, or total, where those are less):
    it begins earlier instead, so no tail is dropped or padded. Chunks before the last do not depend on `total`.
    Raises ValueError unless total, length >= 1 and 0 <= overlap <= length / 2 (no frame is in three chunks' fades).
    """
    if total < 1 or length < 1 or not 0 <= 2 * overlap <= length:
        raise ValueError(f"no chunks of {length} frames that share {overlap} can be made of {total} frames")
    chunks = [Chunk(0, min(length, total))]
    while (seen := chunks[-1].stop) < total:
        shown = seen - overlap
        stop = min(shown + length, total)
        start = min(shown, stop - min(shortest, length))
        chunks.append(Chunk(start, stop, overlap, shown - start))
    return chunks


def crossfade(earlier: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
    """Two versions of the same n frames, uint8 [n, h, w, 3] -> uint8, going over linearly from one to the other.

    The later one's share is 1/(n+1) in the first frame and n/(n+1) in the last: neither version is shown alone here,
    both are just outside. Rounded to the nearest.
    """
    if earlier.shape != later.shape:
        raise ValueError(f"a crossfade needs frames of one shape, not {list(earlier.shape)} and {list(later.shape)}")
    n = len(earlier)
    share = torch.arange(1, n + 1, dtype=torch.int32).reshape(-1, *[1] * (earlier.dim() - 1))
    mixed = earlier.to(torch.int32) * (n + 1 - share) + later.to(torch.int32) * share
    return ((2 * mixed + n + 1) // (2 * (n + 1))).to(torch.uint8)
