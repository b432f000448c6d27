"""The demo's own input: the committed files are what demo/sample.py draws, and they are fit to be a job's input."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from demo.sample import ASSETS, FPS, NUM_FRAMES, VIDEO_SIZE, draw_driving_frames, draw_person, melody, write_driving

PICTURE, VIDEO = ASSETS / "person.png", ASSETS / "driving.mp4"


@pytest.fixture(scope="module")
def committed() -> Iterator[tuple[av.container.InputContainer, list[np.ndarray]]]:
    with av.open(str(VIDEO)) as container:
        yield container, [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int))


def test_the_picture_is_what_the_script_draws():
    with Image.open(PICTURE) as image:
        picture = np.asarray(image)
        assert (image.mode, image.size) == ("RGB", (720, 1280))
    off = difference(picture, draw_person())
    # Sums may round differently on another processor: one step here and there, no more.
    assert off.mean() < 0.02
    assert (off > 2).mean() < 1e-4


def test_the_video_is_what_the_script_draws(committed):
    drawn = next(draw_driving_frames(1))
    decoded = committed[1][0]
    assert difference(decoded, drawn).mean() < 3.0
    # Colours come back as they were drawn: the red rug, the blue sky, the green leaf.
    for x, y in ((330, 675), (200, 110), (1190, 380)):
        assert difference(decoded[y - 3 : y + 4, x - 3 : x + 4], drawn[y - 3 : y + 4, x - 3 : x + 4]).mean() < 6, (x, y)


def test_the_video_is_a_good_driving_video(committed):
    container, frames = committed
    video, audio = container.streams.video[0], container.streams.audio[0]
    assert (video.codec_context.name, video.pix_fmt, video.average_rate) == ("h264", "yuv420p", FPS)
    assert (video.codec_context.colorspace, video.codec_context.color_range) == (1, 1)
    assert (audio.codec_context.name, audio.sample_rate, audio.channels) == ("aac", 48_000, 2)
    assert (len(frames), frames[0].shape) == (NUM_FRAMES, (VIDEO_SIZE[1], VIDEO_SIZE[0], 3))
    assert abs(float(audio.duration * audio.time_base) - NUM_FRAMES / FPS) < 0.05
    # Somebody moves in every frame, and only somebody: the room stands still.
    for before, after in itertools.pairwise(frames):
        moved = difference(before, after).max(axis=-1) > 40
        assert 100 < moved.sum() < 40_000
        assert not moved[:, :480].any()


def test_the_files_are_small_and_start_fast():
    assert sum(path.stat().st_size for path in (PICTURE, VIDEO)) < 400_000
    head = VIDEO.read_bytes()
    assert 0 < head.find(b"moov") < head.find(b"mdat")


def test_another_length_has_sound_of_the_same_length(tmp_path: Path):
    path = tmp_path / "short.mp4"
    write_driving(path, 2)
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 2
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert abs(sound.shape[1] / 48_000 - 2 / FPS) < 0.05
    assert np.sqrt((sound**2).mean()) > 0.01


def test_the_melody_is_gentle():
    sound = melody(2.0)
    assert sound.shape == (2, 96_000)
    assert 0.2 < np.abs(sound).max() < 0.9
    # No click: neither at the start nor at the end, nor between two samples.
    assert np.abs(sound[:, [0, -1]]).max() < 1e-3
    assert np.abs(np.diff(sound, axis=1)).max() < 0.15
