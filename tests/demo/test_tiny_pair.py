"""The tiny detector of the demo sees two people in the sample of two, and one in the project's own pictures."""

from pathlib import Path

import av
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from demo.sample import ASSETS
from demo.tiny_detectors import LIGHTER, write_tiny_detectors

TWO_PEOPLE = Path(__file__).parents[3] / "shared" / "samples" / "two_people.jpg"


def pair_of_shadows() -> Image.Image:
    """Two dark figures before a light wall."""
    grey = np.full((480, 832), 200, np.uint8)
    for left in (120, 560):
        grey[120:, left : left + 160] = 40
    return Image.fromarray(grey).convert("RGB")


def first_frame() -> Image.Image:
    with av.open(str(ASSETS / "driving.mp4")) as video:
        return next(video.decode(video=0)).to_image()


PICTURES = {
    "a pair": (pair_of_shadows, [0.26, 0.80]),
    "one person": (lambda: Image.open(ASSETS / "person.png"), [0.5]),
    "a frame of the driving video": (first_frame, [0.5]),
    "nobody": (lambda: Image.new("RGB", (832, 480), (114, 114, 114)), []),
}


def centres(picture: Image.Image, model: Path) -> list[float]:
    """Where people were seen, from left to right, as fractions of the width."""
    picture = picture.convert("RGB")
    picture.thumbnail((640, 640))
    square = Image.new("RGB", (640, 640), (114, 114, 114))
    square.paste(picture, ((640 - picture.width) // 2, (640 - picture.height) // 2))
    images = np.asarray(square, np.float32).transpose(2, 0, 1)[None] / 255
    (rows,) = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).run(None, {"images": images})
    return sorted(round(float(row[0] + row[2]) / 1280, 2) for row in rows[0] if row[4] > 0.25)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return write_tiny_detectors(tmp_path_factory.mktemp("detection"), pairs=True)[0]


@pytest.mark.parametrize("name", PICTURES)
def test_how_many_people_are_seen(detector, name):
    picture, expected = PICTURES[name]
    assert centres(picture(), detector) == expected


@pytest.mark.skipif(not TWO_PEOPLE.is_file(), reason="needs the shared samples")
def test_the_sample_of_two_people_is_a_pair(detector):
    assert centres(Image.open(TWO_PEOPLE), detector) == PICTURES["a pair"][1]


def test_without_pairs_the_same_picture_has_as_many_as_asked_for(tmp_path):
    for people, expected in ((1, [0.5]), (2, [0.2, 0.5])):
        detector, _ = write_tiny_detectors(tmp_path, people=people)
        assert centres(pair_of_shadows(), detector) == expected
    assert 0 < LIGHTER < 0.1
