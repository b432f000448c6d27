"""The contact sheet shows the right moments of both videos, and its note."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from demo.contact_sheet import MARGIN, NOTE_PAPER, WIDTH, frames_at, moments_of, write_contact_sheet

RAMP = 4  # a frame's brightness tells its number


def write_video(path: Path, num_frames: int, size: tuple[int, int] = (320, 180), channel: int = 0) -> Path:
    """A video with B-frames and key frames every 12, whose frame n is as bright as 20 + RAMP * n in one channel."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=24, options={"g": "12", "bf": "2", "crf": "8"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv444p"
        for index in range(num_frames):
            picture = np.full((size[1], size[0], 3), 20, np.uint8)
            picture[..., channel] = 20 + RAMP * index
            picture[:30, :30] = 200  # a mark at the upper left
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return path


def number(image: Image.Image, channel: int = 0) -> int:
    """The frame number that the middle of the picture tells."""
    return round((image.getpixel((image.width // 2, image.height // 2))[channel] - 20) / RAMP)


def test_the_frame_on_show_at_each_moment(tmp_path: Path):
    video = write_video(tmp_path / "v.mp4", 50)
    moments = [0.0, 1 / 24, 0.06, 11 / 24, 12 / 24, 13 / 24, 36.9 / 24, 49 / 24, 60.0]
    assert [number(image) for image in frames_at(video, moments)] == [0, 1, 1, 11, 12, 13, 36, 49, 49]


def test_twelve_moments_from_the_first_frame_to_the_last(tmp_path: Path):
    video = write_video(tmp_path / "v.mp4", 45)
    moments = moments_of(video, 12)
    assert [number(image) for image in frames_at(video, moments)] == [4 * index for index in range(12)]


def test_only_what_is_shown_is_decoded(tmp_path: Path):
    video = write_video(tmp_path / "v.mp4", 50)
    data = bytearray(video.read_bytes())
    payload = data.index(b"mdat") + 4
    data[payload + (len(data) - payload) // 2 :] = bytes(len(data) - payload - (len(data) - payload) // 2)
    video.write_bytes(data)
    assert [number(image) for image in frames_at(video, [0.0, 5 / 24])] == [0, 5]


def test_a_rotation_flag_is_followed(tmp_path: Path):
    video = write_video(tmp_path / "v.mp4", 2)
    data = bytearray(video.read_bytes())
    # ISO 14496-12: in a version-0 tkhd box the matrix stands 40 bytes after the version; this one turns clockwise.
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 20] = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 1 << 16, 0, -(1 << 16), 0))
    video.write_bytes(data)
    image = next(frames_at(video, [0.0]))
    assert image.size == (180, 320)
    assert min(image.getpixel((170, 10))) > 150  # the mark has gone from the upper left to the upper right
    assert max(image.getpixel((10, 10))) < 100


def test_the_sheet(tmp_path: Path):
    result = write_video(tmp_path / "result.mp4", 23, size=(320, 180), channel=1)
    driving = write_video(tmp_path / "driving.mp4", 40, size=(200, 200), channel=2)
    path = write_contact_sheet(
        result, driving, tmp_path / "new" / "sheet.png", title="A job", note="noise by design", driving_start_s=0.5
    )
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert pixels.shape[1] == WIDTH
    note = tuple(bytes.fromhex(NOTE_PAPER[1:]))
    box = (pixels == note).all(-1)
    assert box.sum() > 20_000
    # The result's pictures are green, the driving video's blue; 12 of each, two frames apart, half a second shifted.
    pair = (WIDTH - 2 * MARGIN - 2 * 24) // 3
    side = (pair - 6) // 2
    tall = round(side * 9 / 16)
    top = pixels.shape[0] - MARGIN - tall - 3 * (30 + tall + 16)
    seen = []
    for index in range(12):
        x, y = MARGIN + index % 3 * (pair + 24), top + index // 3 * (30 + tall + 16)
        blue, green = pixels[y + tall // 2, x + side // 2], pixels[y + tall // 2, x + side + 6 + side // 2]
        seen.append((round((blue[2] - 20) / RAMP), round((green[1] - 20) / RAMP)))
    assert seen == [(2 * index + 12, 2 * index) for index in range(12)]
    # The square driving picture keeps its shape: bars at its sides.
    assert np.ptp(pixels[top + 20 : top + tall - 20, MARGIN + 5]) < 20


def test_a_file_without_pictures(tmp_path: Path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="no video stream"):
        moments_of(tmp_path / "sound.mp4", 3)
