"""Tiles in time: how a chunk longer than the model's clip is denoised as one. Pure, apart from adding up tensors.

Every tile begins with frame 0, the reference picture, and goes on with neighbouring frames; in each step all tiles are
denoised and averaged with weights that fall towards a tile's ends. MimicMotion's published rules, facts 5 and 6.
"""

from dataclasses import dataclass

import torch

from ..errors import MotionError


@dataclass(frozen=True)
class Tile:
    """Frame 0 and then the frames first .. stop - 1."""

    first: int
    stop: int

    @property
    def length(self) -> int:
        return 1 + self.stop - self.first

    @property
    def frames(self) -> list[int]:
        return [0, *range(self.first, self.stop)]

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """This tile's frames of [frames, ...]."""
        whole = self.first == 1 and self.stop == len(values)
        return values if whole else torch.cat([values[:1], values[self.first : self.stop]])


def plan_tiles(frames: int, tile: int, overlap: int) -> list[Tile]:
    """Tiles of `tile` frames that together show all of `frames` (>= 2), the reference among them.

    Two neighbours share frame 0 and overlap - 1 more (fact 5). Fewer frames than `tile` are one tile of them all,
    where the published pipeline fails (fact 10). Raises MotionError invalid_value when tiles would not advance.
    """
    tile = min(tile, frames)
    if frames < 2 or tile < 2:
        raise MotionError(
            "invalid_value", f"{frames} frames in tiles of {tile}: both must be 2 or more.", "Give a longer video."
        )
    if tile == frames:
        return [Tile(1, frames)]
    if not 1 <= overlap < tile:
        raise MotionError(
            "invalid_value",
            f"frames_overlap is {overlap} and a tile {tile} frames: the next tile would not begin later.",
            f"Choose an overlap from 1 to {tile - 1}.",
        )
    starts = list(range(0, frames - tile + 1, tile - overlap))
    if starts[-1] + tile < frames:
        starts.append(frames - tile)
    return [Tile(start + 1, start + tile) for start in starts]


def tile_weights(length: int) -> torch.Tensor:
    """Weight of each position, float32 [length]: a triangle, the same read backwards (fact 6)."""
    rising = (torch.arange(length, dtype=torch.float32) + 0.5) * 2 / length
    return torch.minimum(rising, 2 - rising)


class Fusion:
    """The weighted mean of what tiles say of their frames."""

    def __init__(self, like: torch.Tensor):
        """like: [frames, ...], of which the mean has shape, device and type."""
        self._sum = torch.zeros_like(like)
        self._weights = torch.zeros((len(like),) + (1,) * (like.ndim - 1), dtype=like.dtype, device=like.device)

    def add(self, tile: Tile, values: torch.Tensor) -> None:
        """values: [tile.length, ...], of the tile's frames in order."""
        weights = tile_weights(tile.length).to(self._weights).reshape(-1, *self._weights.shape[1:])
        for place, part in ((slice(0, 1), slice(0, 1)), (slice(tile.first, tile.stop), slice(1, None))):
            self._sum[place] += weights[part] * values[part]
            self._weights[place] += weights[part]

    def mean(self) -> torch.Tensor:
        return self._sum / self._weights
