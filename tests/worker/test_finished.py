"""worker/finished.py on real files: a right one passes, and each thing that can be wrong is found by its own check."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from worker.errors import JobError
from worker.finished import Expected, Report, check_mp4

WIDTH, HEIGHT, FPS, FRAMES = 128, 96, 24, 30
RIGHT = Expected(WIDTH, HEIGHT, FPS, FRAMES, has_audio=True)


def moving(index: int) -> np.ndarray:
    """A bright square wandering over a dim gradient: RGB [h, w, 3]."""
    picture = np.repeat(np.linspace(30, 90, WIDTH, dtype=np.uint8)[None, :, None], HEIGHT, 0).repeat(3, 2)
    left = 2 * index % (WIDTH - 24)
    picture[32:56, left : left + 24] = 220
    return picture


def write(
    path: Path,
    *,
    picture=moving,
    frames=FRAMES,
    size=(WIDTH, HEIGHT),
    fps=FPS,
    times=None,
    sound=FRAMES / FPS,
    sound_from=0.0,
    codec="libx264",
    pix_fmt="yuv420p",
    faststart=True,
    timescale=0,
) -> Path:
    """An MP4; `times` gives each frame's pts in 1/fps, `sound` its seconds (0: none)."""
    options = {"video_track_timescale": str(timescale)} | ({"movflags": "+faststart"} if faststart else {})
    with av.open(str(path), "w", options=options) as out:
        video = out.add_stream(codec, rate=fps)
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        video.codec_context.time_base = Fraction(1, 1000 * fps)
        video.options = {"crf": "18", "g": "12"}
        audio = out.add_stream("aac", rate=16000) if sound else None
        for index in range(frames):
            image = np.ascontiguousarray(picture(index)[: size[1], : size[0]])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(1000 * (times or range(frames))[index]), Fraction(1, 1000 * fps)
            out.mux(video.encode(frame))
        out.mux(video.encode())
        if audio:
            for start in range(0, int(sound * 16000), 1024):
                count = min(1024, int(sound * 16000) - start)
                wave = np.sin(np.arange(start, start + count) / 20).astype(np.float32)[None] * 0.3
                block = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                block.sample_rate, block.time_base = 16000, Fraction(1, 16000)
                block.pts = start + int(sound_from * 16000)
                out.mux(audio.encode(block))
            out.mux(audio.encode())
    return path


def wrong(report: Report) -> set[str]:
    return {check.name for check in report.checks if not check.ok}


def test_a_right_video_passes_every_check(tmp_path):
    path = write(tmp_path / "a.mp4")
    report = check_mp4(path, RIGHT)
    assert report.ok, report.table()
    assert (report.width, report.height, report.fps, report.num_frames) == (WIDTH, HEIGHT, 24.0, 30)
    assert report.duration_seconds == pytest.approx(1.25)
    assert report.video_size_bytes == path.stat().st_size
    assert report.require() is report
    assert json.loads(json.dumps(report.as_dict()))["ok"] is True
    assert len(report.table().splitlines()) == len(report.checks) + 1


def test_a_right_video_in_a_time_base_that_rounds_passes(tmp_path):
    report = check_mp4(write(tmp_path / "a.mp4", timescale=1000), RIGHT)
    assert wrong(report) <= {"frames a second"}, report.table()


def test_a_right_video_without_sound_passes(tmp_path):
    silent = Expected(WIDTH, HEIGHT, FPS, FRAMES, has_audio=False)
    assert check_mp4(write(tmp_path / "a.mp4", sound=0), silent).ok


def half_black(index: int) -> np.ndarray:
    return moving(index) if index < 14 else np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def stuck(index: int) -> np.ndarray:
    return moving(min(index, 2))


def noisy_still(index: int) -> np.ndarray:
    """The same picture under fresh grain, as a frozen generation may look after a filter."""
    grain = np.random.default_rng(index).integers(-3, 4, (HEIGHT, WIDTH, 1))
    return np.clip(moving(0).astype(int) + grain, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"size": (WIDTH - 16, HEIGHT)}, {"size"}),
        ({"frames": FRAMES - 1}, {"frames"}),
        ({"fps": 25}, {"frames a second", "even spacing"}),
        ({"times": [*range(29), 30]}, {"frames a second", "even spacing"}),
        ({"times": [*range(10), 10.5, *range(11, 30)]}, {"even spacing"}),
        ({"times": [*range(29), 30], "timescale": 24}, {"frames a second", "even spacing"}),
        ({"times": [t + 12 for t in range(30)]}, {"starts at zero"}),
        ({"sound": 0}, {"sound streams", "length of sound"}),
        ({"sound": 1.0}, {"length of sound"}),
        ({"sound": 1.5}, {"length of sound"}),
        ({"sound_from": 0.3}, {"sound starts"}),
        ({"faststart": False}, {"index first"}),
        ({"codec": "mpeg4"}, {"codec"}),
        ({"pix_fmt": "yuv444p"}, {"pixel format"}),
        ({"picture": lambda i: np.zeros((HEIGHT, WIDTH, 3), np.uint8)}, {"not black", "not frozen"}),
        ({"picture": half_black}, {"not black"}),
        ({"picture": lambda i: moving(0)}, {"not frozen"}),
        ({"picture": noisy_still}, {"not frozen"}),
        ({"picture": stuck}, {"not frozen"}),
    ],
)
def test_each_fault_is_found_by_its_own_check(tmp_path, changes, names):
    report = check_mp4(write(tmp_path / "a.mp4", **changes), RIGHT)
    assert wrong(report) == names, report.table()
    with pytest.raises(JobError) as error:
        report.require()
    assert error.value.code == "output_wrong"
    assert all(name in error.value.message for name in names)


def test_sound_that_nobody_wanted_is_found(tmp_path):
    report = check_mp4(write(tmp_path / "a.mp4"), Expected(WIDTH, HEIGHT, FPS, FRAMES, has_audio=False))
    assert wrong(report) == {"sound streams"}


def test_sound_shorter_by_right_passes(tmp_path):
    path = write(tmp_path / "a.mp4", sound=0.6)
    assert check_mp4(path, Expected(WIDTH, HEIGHT, FPS, FRAMES, True, audio_seconds=0.6)).ok


def test_a_long_black_stretch_is_found_though_most_is_not_black(tmp_path):
    def picture(index):
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8) if 40 <= index < 90 else moving(index)

    report = check_mp4(
        write(tmp_path / "a.mp4", picture=picture, frames=120, sound=5), Expected(128, 96, 24, 120, True)
    )
    assert wrong(report) == {"not black"}


def test_a_dark_scene_is_not_black_and_a_talking_mouth_is_not_frozen(tmp_path):
    def picture(index):
        night = np.full((HEIGHT, WIDTH, 3), 4, np.uint8)
        night[16:32, 16:32] = 45
        night[64:72, 64:80] = 25 + 20 * (index // 3 % 2)
        return night

    report = check_mp4(write(tmp_path / "a.mp4", picture=picture), RIGHT)
    assert report.ok, report.table()


def noise(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


def test_damage_inside_the_video_is_found(tmp_path):
    path = write(
        tmp_path / "a.mp4", picture=lambda i: np.random.default_rng(i).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    )
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(container.streams.video[0]) if p.size][20]
        start = packet.pos + 40
    data[start : start + packet.size // 2] = b"\x55" * (packet.size // 2)
    path.write_bytes(data)
    report = check_mp4(path, RIGHT)
    assert wrong(report) >= {"every frame decodes"}, report.table()


@pytest.mark.parametrize("keep", [0.6, 0.99])
def test_a_cut_file_is_found(tmp_path, keep):
    path = write(tmp_path / "a.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert not check_mp4(path, RIGHT).ok


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"\0\0\0\x01mdat" + b"\xff" * 100])
def test_what_is_no_video_is_reported_not_raised(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    report = check_mp4(path, RIGHT)
    assert "opens" in wrong(report)
