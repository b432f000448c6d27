"""Who speaks: mask rows by hand and against a slow second reading of the published rules; every refusal."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.talk.find_people import counted, require_one_a_half, require_somebody
from custom_nodes.comfy_motion.talk.speakers import Speakers, from_masks, left_and_right, one_speaker

WIDTH, HEIGHT = 832, 480


def box_mask(left: int, top: int, right: int, bottom: int, width: int = WIDTH, height: int = HEIGHT) -> torch.Tensor:
    mask = torch.zeros(height, width)
    mask[top:bottom, left:right] = 1
    return mask


def box_of(row: torch.Tensor) -> tuple[int, int, int, int]:
    """left, top, right, bottom of a row that is one full rectangle."""
    ys, xs = row.nonzero(as_tuple=True)
    left, top, right, bottom = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
    assert row.sum() == (right - left) * (bottom - top)
    return left, top, right, bottom


def slow_tokens(rows: np.ndarray, grid_h: int, grid_w: int) -> np.ndarray:
    """Nearest twice, pixel by pixel in whole numbers: picture to latent, latent to tokens."""
    height, width = rows.shape[1:]
    result = np.zeros((len(rows), grid_h * grid_w))
    for y in range(grid_h):
        for x in range(grid_w):
            latent_y, latent_x = y * 2 * grid_h // grid_h, x * 2 * grid_w // grid_w
            pixel = rows[:, latent_y * height // (2 * grid_h), latent_x * width // (2 * grid_w)]
            result[:, y * grid_w + x] = pixel > 0
    return result


@pytest.mark.parametrize(
    ("width", "height", "first", "second"),
    [
        (832, 480, (20, 24, 395, 456), (436, 24, 811, 456)),  # 20.8, 395.2, 436.8, 811.2
        (1280, 720, (32, 36, 608, 684), (672, 36, 1248, 684)),
        (464, 832, (11, 41, 220, 790), (243, 41, 452, 790)),  # 11.6, 41.6, 220.4, 790.4, 243.6, 452.4
        (624, 640, (15, 32, 296, 608), (327, 32, 608, 608)),  # 15.6, 296.4, 327.6, 608.4
    ],
)
def test_left_and_right_in_pixels_by_hand(width, height, first, second):
    speakers = left_and_right(width, height)
    assert (speakers.num_speakers, speakers.width, speakers.height) == (2, width, height)
    assert speakers.names == ("audio_1 / left", "audio_2 / right")
    assert speakers.rows.dtype == torch.float32
    assert box_of(speakers.rows[0]) == first
    assert box_of(speakers.rows[1]) == second
    assert torch.equal(speakers.rows[2], 1 - speakers.rows[0] - speakers.rows[1])


@pytest.mark.parametrize(
    ("width", "height", "first", "second"),
    [
        # Token (x, y) is pixel (16 x, 16 y): columns 32..384 and 448..800, rows 32..448.
        (832, 480, (2, 2, 25, 29), (28, 2, 51, 29)),
        (1280, 720, (2, 3, 38, 43), (42, 3, 78, 43)),
        (464, 832, (1, 3, 14, 50), (16, 3, 29, 50)),
    ],
)
def test_left_and_right_on_tokens_by_hand(width, height, first, second):
    grid_h, grid_w = height // 16, width // 16
    rows = left_and_right(width, height).token_rows(grid_h, grid_w)
    assert (tuple(rows.shape), rows.dtype) == ((3, grid_h * grid_w), torch.float32)
    grid = rows.view(3, grid_h, grid_w)
    assert box_of(grid[0]) == first
    assert box_of(grid[1]) == second
    assert torch.equal(rows.sum(0), torch.ones(grid_h * grid_w))


def test_a_token_takes_its_upper_left_pixel_and_no_other():
    person = box_mask(100, 100, 200, 300)
    person[:, 112], person[128] = 0, 0  # the pixels of one column and one row of tokens
    lost = box_mask(16, 0, 17, 480)
    lost[1:16] = 0
    grid = from_masks(torch.stack([person, lost]), 2, WIDTH, HEIGHT).token_rows(30, 52).view(3, 30, 52)
    assert sorted(set(grid[0].nonzero()[:, 1].tolist())) == [8, 9, 10, 11, 12]  # 112 is column 7
    assert sorted(set(grid[0].nonzero()[:, 0].tolist())) == [7, *range(9, 19)]  # 128 is row 8
    assert grid[1, :, 1].tolist() == [1] * 30
    assert grid[1].sum() == 30


sizes = st.tuples(st.integers(4, 20), st.integers(4, 20))


@settings(max_examples=60, deadline=None)
@given(sizes, st.integers(0, 2**31), st.booleans())
def test_rows_cover_the_picture_and_the_background_is_nobodys(size, seed, halves):
    grid_h, grid_w = size
    height, width = 16 * grid_h, 16 * grid_w
    if halves:
        speakers = left_and_right(width, height)
        assert not (speakers.rows[0] * speakers.rows[1]).any()
    else:
        masks = (torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed)) > 0.7).float()
        masks[:, 0, 0] = 1  # a pixel that a token takes
        speakers = from_masks(masks, 2, width, height)
    for rows in (speakers.rows.flatten(1), speakers.token_rows(grid_h, grid_w)):
        assert set(rows.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(rows[2] == 1, (rows[0] + rows[1]) == 0)
        assert rows[:2].any(1).all()
    for grid in ((grid_h, grid_w), (grid_h - 1, grid_w + 3)):  # a grid that is no sixteenth, too
        wanted = slow_tokens(speakers.rows.numpy(), *grid)
        np.testing.assert_array_equal(speakers.token_rows(*grid).numpy(), wanted)


def test_one_voice_has_rows_of_ones():
    speakers = one_speaker(64, 48)
    assert (speakers.num_speakers, speakers.width, speakers.height) == (1, 64, 48)
    assert torch.equal(speakers.rows, torch.ones(3, 48, 64))
    assert torch.equal(speakers.token_rows(3, 4), torch.ones(3, 12))


def test_masks_keep_their_order_and_are_inside_above_one_half():
    masks = torch.stack([box_mask(500, 50, 700, 400) * 0.51, box_mask(100, 50, 300, 400)])
    masks[1, :, :200] *= 0.5
    speakers = from_masks(masks, 2, WIDTH, HEIGHT)
    assert speakers.names == ("audio_1", "audio_2")
    assert box_of(speakers.rows[0]) == (500, 50, 700, 400)
    assert box_of(speakers.rows[1]) == (200, 50, 300, 400)


def pair(common: int) -> torch.Tensor:
    """Masks of 200 and 100 columns, 400 rows each, with `common` columns in common."""
    return torch.stack([box_mask(100, 40, 300, 440), box_mask(300 - common, 40, 400 - common, 440)])


def test_half_of_the_smaller_in_common_is_two_people_and_more_is_one():
    both = from_masks(pair(50), 2, WIDTH, HEIGHT)
    assert (both.rows[0] * both.rows[1]).sum() == 50 * 400
    assert torch.equal(both.rows[2], ((both.rows[0] + both.rows[1]) == 0).float())
    for common, percent in ((51, 51), (73, 73), (100, 100)):
        with pytest.raises(MotionError, match=rf"\[speakers_overlap\] .* {percent} % of the smaller.*`speakers`"):
            from_masks(pair(common), 2, WIDTH, HEIGHT)
    barely = pair(50)
    barely[0, 40, 300] = 1  # one pixel more in common: 50.0025 %
    with pytest.raises(MotionError, match="51 % of the smaller"):
        from_masks(barely, 2, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("masks", "code", "words"),
    [
        (pair(0)[:1], "invalid_value", "2 voices and 1 masks of speakers"),
        (torch.cat([pair(0), pair(0)[:1]]), "invalid_value", "2 voices and 3 masks of speakers"),
        (pair(0)[:, :464], "invalid_value", "masks are 832x464 pixels and the picture is 832x480"),
        (pair(0) * torch.tensor([1.0, 0.0])[:, None, None], "empty_mask", "speaker 2 of 2 is empty.*speaker 2's box"),
        (torch.stack([box_mask(33, 33, 48, 48), pair(0)[1]]), "empty_mask", "speaker 1 of 2 has 225 pixels, none of"),
    ],
)
def test_masks_that_bind_nobody_are_refused(masks, code, words):
    with pytest.raises(MotionError, match=rf"\[{code}\] .*{words}"):
        from_masks(masks, 2, WIDTH, HEIGHT)


def test_a_picture_too_small_for_two_is_refused():
    assert isinstance(left_and_right(64, 64), Speakers)
    with pytest.raises(MotionError, match=r"\[invalid_value\] .*16x16 pixels: too small"):
        left_and_right(16, 16)


def found(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 5)


def test_people_count_if_the_detector_is_sure_or_else_its_best_guess():
    man, woman, coat = (10, 20, 200, 400, 0.9), (500, 20, 700, 400, 0.25), (300, 20, 350, 90, 0.24)
    assert counted(found(man, woman, coat)).tolist() == [list(man[:4]), list(woman[:4])]
    assert counted(found(coat, (0, 0, 9, 9, 0.1))).tolist() == [list(coat[:4])]
    assert counted(found()).shape == (0, 4)


def people(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def test_too_few_people_are_refused_with_what_was_seen():
    with pytest.raises(MotionError, match=r"\[no_person\] Nobody .*832x480 pixels"):
        require_somebody(people(), WIDTH, HEIGHT)
    require_somebody(people((0, 0, 9, 9)), WIDTH, HEIGHT)
    with pytest.raises(MotionError, match=r"\[one_person\] .*one person .*: \[10, 20, 200, 400\] .*one voice.*`speak"):
        require_one_a_half(people((10, 20, 200, 400)), WIDTH, HEIGHT)
    with pytest.raises(MotionError, match=r"\[one_person\] .*all 2 people .*the left half, none in the right: \[10, 2"):
        require_one_a_half(people((10, 20, 200, 400), (300, 20, 531, 400)), WIDTH, HEIGHT)
    with pytest.raises(MotionError, match=r"all 6 people .*the right half, none in the left: .* and 2 more"):
        require_one_a_half(people(*[(416, 20, 416 + 9 * n, 90) for n in range(1, 7)]), WIDTH, HEIGHT)


def test_a_middle_in_each_half_is_enough_whatever_the_order():
    require_one_a_half(people((300, 20, 532, 400), (10, 20, 200, 400)), WIDTH, HEIGHT)  # 416 is the right half's
    require_one_a_half(people((10, 20, 200, 400), (20, 20, 80, 99), (500, 20, 800, 400)), WIDTH, HEIGHT)
