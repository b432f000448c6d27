"""operations/animate.py: what a request may say, how it is refused, and what it does to the graph."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import JobError
from worker.graph import graph_from
from worker.operations.animate import MAX_SIDE, MIN_SIDE, Animate, composite_size, processed_size

from .asking import Asked, picture, renamed

OPERATION = Animate()
ASKED = Asked(OPERATION, {"image_url": "https://x/a.png"})
MASK = {"mask_url": "https://x/m.png"}
LANDSCAPE = {"image": picture(1920, 1080), "mask": picture(1920, 1080)}
PORTRAIT = {"image": picture(1081, 1921), "mask": picture(1081, 1921)}


@pytest.mark.parametrize("mask", [{}, MASK])
def test_the_pinned_graph_shows_the_requests_defaults(mask):
    size = {("Composite", name) for name in ("width", "height")}
    early = {("Composite", f"frame_{name}") for name in ("width", "height")}
    files = {("Image", "image"), ("Save MP4", "filename_prefix")} | ({("Mask", "image")} if mask else set())
    # 0 is "as the picture has it" in the editor; the worker knows the picture and says it.
    assert ASKED.different_from_pinned(seed=0, **mask) == files | size | early


BAD = [
    ({"image_url": "absent"}, "missing_field", "image_url"),
    ({"image_minio_path": "in/a.png"}, "conflicting_fields", "image_url"),
    ({"image_base64": ""}, "invalid_value", "image_base64"),
    ({**MASK, "mask_base64": "QUJD"}, "conflicting_fields", "mask_base64"),
    ({"mask_minio_path": 5}, "invalid_value", "mask_minio_path"),
    ({"motion_bucket_id": 0}, "invalid_value", "motion_bucket_id"),
    ({"motion_bucket_id": 256}, "invalid_value", "motion_bucket_id"),
    ({"motion_bucket_id": 127.0}, "invalid_value", "motion_bucket_id"),
    ({"noise_aug_strength": -0.1}, "invalid_value", "noise_aug_strength"),
    ({"noise_aug_strength": 1.1}, "invalid_value", "noise_aug_strength"),
    ({"noise_aug_strength": False}, "invalid_value", "noise_aug_strength"),
    ({"num_frames": 1}, "invalid_value", "num_frames"),
    ({"num_frames": 26}, "invalid_value", "num_frames"),
    ({"fps": 0}, "invalid_value", "fps"),
    ({"fps": 31}, "invalid_value", "fps"),
    ({"fps": 6.5}, "invalid_value", "fps"),
    ({"fps": True}, "invalid_value", "fps"),
    ({"num_inference_steps": 101}, "invalid_value", "num_inference_steps"),
    ({"guidance_scale": 0}, "invalid_value", "guidance_scale"),
    ({"seed": 2**63}, "invalid_value", "seed"),
    ({"prompt": "a dance"}, "unknown_field", "prompt"),
    ({"motion_bucket": 5}, "unknown_field", "motion_bucket"),
]


@pytest.mark.parametrize(("changes", "code", "field"), BAD)
def test_every_bad_value_has_a_code_a_field_and_a_hint(changes, code, field):
    error = ASKED.refused(**changes)
    assert (error.code, error.field) == (code, field)
    assert error.hint
    assert field in error.message
    assert len(error.message) < 300


def test_whole_numbers_do_for_floats():
    for value in (0, 1):
        bound = ASKED.bound(noise_aug_strength=value)["Noise augmentation"]["noise_aug_strength"]
        assert (bound, type(bound)) == (float(value), float)


def test_binding_sets_what_the_request_says():
    graph = ASKED.bound(
        PORTRAIT, motion_bucket_id=200, noise_aug_strength=0.1, num_frames=14, fps=8, seed=7, num_inference_steps=9,
        guidance_scale=3, **MASK,
    )  # fmt: skip
    assert (graph["Image"]["image"], graph["Mask"]["image"]) == ("x/image.png", "x/mask.png")
    video = graph["Image to video"]
    assert [video[k] for k in ("width", "height", "video_frames", "motion_bucket_id", "fps")] == [576, 1024, 14, 200, 8]
    assert video["augmentation_level"] == 0, "core's noise knows no seed"
    augment = graph["Noise augmentation"]
    assert [augment[k] for k in ("width", "height", "noise_aug_strength", "seed")] == [576, 1024, 0.1, 7]
    sampler = graph["Sampler"]
    assert [sampler[k] for k in ("seed", "steps", "cfg")] == [7, 9, 3.0]
    assert graph["Decode video"]["fps"] == 8.0, "the rate that the model is told is the rate of the MP4"
    composite = graph["Composite"]
    assert [composite[k] for k in ("width", "height")] == [1080, 1920]
    assert [composite[k] for k in ("frame_width", "frame_height")] == [576, 1024]
    assert composite["mask"][1] == 0
    assert graph["Save MP4"]["filename_prefix"] == "x/animate"


def test_without_a_mask_none_is_loaded_and_all_moves():
    request = ASKED.parse()
    assert set(OPERATION.wanted(request)) == {"image"}
    bound = OPERATION.bind(request, {"image": "i"}, {"image": picture(4000, 3000)}, "x")
    nodes = {node["_meta"]["title"]: node["inputs"] for node in bound.prompt.values()}
    assert "mask" not in nodes["Composite"]
    assert [nodes["Composite"][k] for k in ("width", "height")] == [1024, 576]
    assert "Mask" not in bound.weights
    masked = ASKED.parse(**MASK)
    assert set(OPERATION.wanted(masked)) == {"image", "mask"}
    assert "Mask" in OPERATION.bind(masked, {"image": "i", "mask": "m"}, LANDSCAPE, "x").weights


@pytest.mark.parametrize("mask", [{}, MASK])
def test_sampling_is_most_of_the_time(mask):
    request = ASKED.parse(**mask)
    shares = OPERATION.shares(request)
    bound = OPERATION.bind(request, {"image": "i", "mask": "m"}, LANDSCAPE, "x")
    assert shares == bound.weights
    assert set(shares) == set(OPERATION.graph_of(request).titles()) - (set() if mask else {"Mask"})
    assert shares["Sampler"] > 0.6 * sum(shares.values())


def test_what_the_mp4_must_be():
    for infos, mask, size in (
        (LANDSCAPE, {}, (1024, 576)),
        (LANDSCAPE, MASK, (1920, 1080)),
        (PORTRAIT, {}, (576, 1024)),
        (PORTRAIT, MASK, (1080, 1920)),
        ({role: picture(8000, 6001) for role in LANDSCAPE}, MASK, (3840, 2880)),
    ):
        expected = OPERATION.expected(ASKED.parse(fps=7, num_frames=14, **mask), infos)
        assert (expected.width, expected.height) == size
        assert (expected.fps, expected.num_frames, expected.has_audio) == (7.0, 14, False)
        composite = ASKED.bound(infos, **mask)["Composite"]
        assert (composite["width"], composite["height"]) == size, "what is asked of the graph is what is checked"


SIDES = st.integers(MIN_SIDE, 16384)


@given(SIDES, SIDES)
def test_the_composites_size(width, height):
    seen = composite_size(width, height)
    assert all(side % 2 == 0 and side >= 2 for side in seen)
    assert max(seen) <= MAX_SIDE
    scale = min(1.0, MAX_SIDE / max(width, height))
    for side, own in zip(seen, (width, height), strict=True):
        assert -2 < side - own * scale <= 1e-3, "the same aspect, to less than two pixels, and nothing made up"
    if max(width, height) <= MAX_SIDE:
        assert seen == (width - width % 2, height - height % 2)
    assert composite_size(*seen) == seen or max(seen) == MAX_SIDE
    assert composite_size(height, width) == seen[::-1]


@given(SIDES, SIDES)
def test_portrait_pictures_get_the_portrait_twin(width, height):
    assert processed_size(width, height) == ((1024, 576) if width >= height else (576, 1024))


@pytest.mark.parametrize("size", [(960, 540), (1080, 1920), (1920, 1079)])
def test_a_mask_of_another_size_is_refused(size):
    """Sizes are as seen: media.ImageInfo has applied the EXIF orientation of both."""
    with pytest.raises(JobError) as caught:
        OPERATION.expected(ASKED.parse(**MASK), {"image": picture(1920, 1080), "mask": picture(*size)})
    assert (caught.value.code, caught.value.field) == ("mask_mismatch", "mask_url")
    assert f"{size[0]}x{size[1]}" in caught.value.message
    assert "1920x1080" in caught.value.message


def test_a_picture_that_is_all_length_is_refused():
    infos = {role: picture(16000, 100) for role in ("image", "mask")}
    with pytest.raises(JobError, match=r"picture_too_small.*3840x24") as caught:
        OPERATION.expected(ASKED.parse(**MASK), infos)
    assert caught.value.field == "image_url"
    assert OPERATION.expected(ASKED.parse(), infos).width == 1024


@pytest.mark.parametrize(
    "title",
    ["Image", "Mask", "Image to video", "Noise augmentation", "Sampler", "Decode video", "Composite", "Save MP4"],
)
def test_a_graph_that_was_edited_is_refused_when_the_worker_starts(title):
    with pytest.raises(JobError, match="graph_invalid"):
        Animate(graph_from(renamed(OPERATION, "animate", title))).check()
    OPERATION.check()


def test_failures_of_nodes_are_laid_at_the_right_field():
    masked, plain = ASKED.parse(**MASK), ASKED.parse()
    for code in ("empty_mask", "mask_mismatch"):
        assert OPERATION.field_of(code, "Composite", masked) == "mask_url"
        assert OPERATION.field_of(code, "Composite", plain) is None
    assert OPERATION.field_of("not_an_image", "Mask", masked) == "mask_url"
    assert OPERATION.field_of("not_an_image", "Image", masked) == "image_url"
    assert OPERATION.field_of("out_of_memory", "Mask", masked) is None
