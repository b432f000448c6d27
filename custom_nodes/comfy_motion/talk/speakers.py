"""Where in the picture each voice's person is: three rows of masks, in pixels and on the transformer's tokens.

Source of the rules: MultiTalk's published code. It makes its masks in the picture as it came and scales and crops them
with it; ours are made in the fitted picture, so nothing of a speaker can be cropped away unseen, and the left and right
margins are measured from the edges that are left.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from ..errors import MotionError

MARGIN = 0.05  # of the height, and of each half's width, at either side
TOKEN = 16  # pixels a token: the VAE's 8 times the transformer's patches of 2
OVERLAP = 0.5  # of the smaller mask: above this, two masks are one person


@dataclass(frozen=True)
class Speakers:
    """Who speaks. names: one a voice, for people to read, first voice first.

    rows: float32 [3, height, width] of 0 and 1 in the fitted picture's pixels: person 1, person 2, background, the
    last being 1 where neither person is. For one speaker all three are ones and not used: that voice moves whoever
    the model and the prompt make of it.
    """

    names: tuple[str, ...]
    rows: torch.Tensor

    @property
    def num_speakers(self) -> int:
        return len(self.names)

    @property
    def height(self) -> int:
        return self.rows.shape[1]

    @property
    def width(self) -> int:
        return self.rows.shape[2]

    def token_rows(self, grid_h: int, grid_w: int) -> torch.Tensor:
        """The rows on a latent frame's grid of tokens: float32 [3, grid_h * grid_w] of 0 and 1, row by row.

        As published: the nearest pixel of each place of the latent (twice the grid), then the nearest of those, and
        1 where above 0. A token therefore has the value of its upper left pixel.
        """
        latent = functional.interpolate(self.rows[None], size=(2 * grid_h, 2 * grid_w), mode="nearest")
        tokens = functional.interpolate((latent > 0).float(), size=(grid_h, grid_w), mode="nearest")
        return (tokens[0] > 0).float().flatten(1)


def one_speaker(width: int, height: int) -> Speakers:
    """The only voice's: no place in the picture is set apart."""
    return Speakers(("audio_1 / whole picture",), torch.ones(3, height, width))


def left_and_right(width: int, height: int) -> Speakers:
    """Two voices without masks: 5..95 % of the height, 5..95 % of each half's width; fractions are cut off.

    Raises MotionError invalid_value for a picture so small that a half holds no token.
    """
    half = width // 2
    top, bottom = int(height * MARGIN), int(height * (1 - MARGIN))
    left, right = half * MARGIN, half * (1 - MARGIN)
    masks = torch.zeros(2, height, width)
    masks[0, top:bottom, int(left) : int(right)] = 1
    # Added before the fraction is cut off, as published.
    masks[1, top:bottom, int(left + half) : int(right + half)] = 1
    speakers = _with_background(("audio_1 / left", "audio_2 / right"), masks)
    if not _on_tokens(speakers).all():
        raise MotionError(
            "invalid_value",
            f"The picture is {width}x{height} pixels: too small to hold two people.",
            f"Use a picture that Fit Picture made; a half of it must hold a token of {TOKEN}x{TOKEN} pixels.",
        )
    return speakers


def from_masks(masks: torch.Tensor, num_voices: int, width: int, height: int) -> Speakers:
    """Two voices and the masks of their people, [n, h, w] in 0..1, above one half is inside, first voice first.

    Raises MotionError invalid_value (number or size of the masks), empty_mask (nothing in it, or so little that no
    token sees it) or speakers_overlap.
    """
    if len(masks) != num_voices:
        raise MotionError(
            "invalid_value",
            f"There are {num_voices} voices and {len(masks)} masks of speakers.",
            "Send one box or one point a voice in `speakers`, first voice first.",
        )
    if tuple(masks.shape[1:]) != (height, width):
        raise MotionError(
            "invalid_value",
            f"The speakers' masks are {masks.shape[2]}x{masks.shape[1]} pixels and the picture is {width}x{height}.",
            "Make the masks of the fitted picture: both come from Fit Picture.",
        )
    inside = (masks > 0.5).cpu()
    speakers = _with_background(tuple(f"audio_{number}" for number in range(1, num_voices + 1)), inside.float())
    _refuse_empty(inside, speakers)
    _refuse_same(inside)
    return speakers


def _with_background(names: tuple[str, ...], masks: torch.Tensor) -> Speakers:
    return Speakers(names, torch.cat([masks, 1 - masks.amax(0, keepdim=True)]))


def _on_tokens(speakers: Speakers) -> torch.Tensor:
    """Whether each person, bool [2], is on any token. One who is on none would be divided by zero in the map."""
    rows = speakers.token_rows(max(1, speakers.height // TOKEN), max(1, speakers.width // TOKEN))
    return rows[:2].any(1)


def _refuse_empty(inside: torch.Tensor, speakers: Speakers) -> None:
    for number, (mask, seen) in enumerate(zip(inside, _on_tokens(speakers), strict=True), 1):
        if not seen:
            pixels = int(mask.sum())
            unseen = f"has {pixels} pixels, none of them one that the model sees (every {TOKEN}th across and down)"
            raise MotionError(
                "empty_mask",
                f"The mask of speaker {number} of {len(inside)} {unseen if pixels else 'is empty'}.",
                f"Draw speaker {number}'s box around the whole person, or put the point in the middle of the body.",
            )


def _refuse_same(inside: torch.Tensor) -> None:
    first, second = inside
    share = int((first & second).sum()) / min(int(first.sum()), int(second.sum()))
    if share > OVERLAP:
        # Cut off, and never down to the limit itself: "50 %" would read as allowed.
        percent = max(int(share * 100), int(OVERLAP * 100) + 1)
        raise MotionError(
            "speakers_overlap",
            f"The masks of speakers 1 and 2 have {percent} % of the smaller one in common "
            f"(at most {OVERLAP:.0%}): both voices would be one person's.",
            "Give each voice another person in `speakers`; where people stand close, a box around the head and chest.",
        )
