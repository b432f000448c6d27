"""writer.py: what the finished MP4 says and holds, its sound to the sample, and nothing left behind on failure."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video.color import ToYuv
from custom_nodes.comfy_motion.video.frames import Frames, TensorFrames
from custom_nodes.comfy_motion.video.reader import VideoFrames
from custom_nodes.comfy_motion.video.sound import Sound, find_sound
from custom_nodes.comfy_motion.video.writer import write_mp4

from .video_samples import beep, beep_in, numbered, numbered_video, numbers_in, sound_length

RATE = 44100
AAC_FRAME = 1024 / RATE


def pictures(count: int, width: int = 320, height: int = 180, fps: Fraction = Fraction(24)) -> TensorFrames:
    return TensorFrames(torch.from_numpy(np.stack([numbered(i, width, height) for i in range(count)])), fps)


def numbers_of(path: Path) -> list[int]:
    with av.open(str(path)) as source:
        return numbers_in(frame.to_ndarray(format="rgb24") for frame in source.decode(video=0))


def samples_of(path: Path) -> np.ndarray:
    """The first channel as a player gives it, float32 [n]."""
    with av.open(str(path)) as source:
        return np.concatenate([frame.to_ndarray()[0] for frame in source.decode(audio=0)])


def resampled(path: Path, start: float, end: float) -> tuple[VideoFrames, Sound | None]:
    frames = VideoFrames(path, 320, 180, Fraction(24), "pad", Fraction(start), Fraction(end))
    return frames, find_sound(path, *frames.source_range)


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(24000, 1001), Fraction(30), Fraction(25, 2)])
def test_what_the_file_says(tmp_path, fps):
    path = tmp_path / "out.mp4"
    written = write_mp4(path, pictures(37, fps=fps), metadata={"prompt": '{"1": {}}'})
    assert (written.num_frames, written.width, written.height, written.sound) == (37, 320, 180, "none")
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        assert stream.average_rate == stream.guessed_rate == fps
        assert stream.frames == 37
        assert stream.duration * stream.time_base == 37 / fps
        assert stream.start_time == 0
        assert (stream.codec_context.name, stream.codec_context.profile) == ("h264", "High")
        assert stream.pix_fmt == "yuv420p"
        assert (stream.colorspace, stream.color_primaries, stream.color_trc, stream.color_range) == (1, 1, 1, 1)
        assert source.metadata["prompt"] == '{"1": {}}'
    assert numbers_of(path) == list(range(37))
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_the_index_is_in_front(tmp_path):
    write_mp4(tmp_path / "out.mp4", pictures(10))
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_colours_survive(tmp_path):
    """A grey ramp and saturated blocks come back within 3 of 255, and no darker or lighter on average."""
    image = np.zeros((128, 256, 3), np.uint8)
    image[:64] = np.arange(256, dtype=np.uint8)[None, :, None]
    for i, colour in enumerate([(200, 40, 40), (40, 180, 60), (30, 60, 210), (220, 200, 40)]):
        image[64:, 64 * i : 64 * i + 64] = colour
    write_mp4(tmp_path / "out.mp4", TensorFrames(torch.from_numpy(np.stack([image] * 3))), crf=1)
    seen = VideoFrames(tmp_path / "out.mp4", 256, 128, Fraction(24)).read(1, 2)[0].numpy().astype(int)
    difference = seen - image
    inner = np.concatenate([difference[4:60].reshape(-1, 3), difference[70:, 10:50].reshape(-1, 3)])
    assert np.abs(inner).max() <= 3
    assert np.abs(inner.mean()) < 0.5


def test_crf_0_is_lossless(tmp_path):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 64, 96, 3), np.uint8))
    write_mp4(tmp_path / "noise.mp4", TensorFrames(image), crf=0)
    write_mp4(tmp_path / "lossy.mp4", TensorFrames(image), crf=17)
    wanted = [ToYuv()(picture.numpy()).to_ndarray() for picture in image]
    for name, same in (("noise.mp4", True), ("lossy.mp4", False)):
        with av.open(str(tmp_path / name)) as source:
            got = [frame.to_ndarray() for frame in source.decode(video=0)]
        assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True)) == same


def test_odd_sizes_lose_a_row_and_a_column(tmp_path):
    written = write_mp4(tmp_path / "out.mp4", pictures(3, 321, 181))
    assert (written.width, written.height) == (320, 180)
    assert numbers_of(tmp_path / "out.mp4") == [0, 1, 2]


@pytest.mark.parametrize("start", [0.0, 0.5, 1.013])
def test_aac_is_copied_and_stays_in_time(tmp_path, start):
    """The beep is heard where it belongs, the packets are the source's own, and the track ends with the picture."""
    source = numbered_video(tmp_path / "in.mp4", 72, sound=beep(1.25, 3.0))
    written = write_mp4(tmp_path / "out.mp4", *resampled(source, start, 2.5))
    assert written.sound == "copied"
    assert beep_in(tmp_path / "out.mp4") == pytest.approx(beep_in(source) - start, abs=0.001)
    assert sound_length(tmp_path / "out.mp4") == pytest.approx(written.num_frames / 24, abs=AAC_FRAME)
    with av.open(str(tmp_path / "out.mp4")) as file, av.open(str(source)) as original:
        own = {bytes(packet) for packet in original.demux(audio=0)}
        assert all(bytes(packet) in own for packet in file.demux(audio=0))
        stream = file.streams.audio[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(written.num_frames / 24, abs=AAC_FRAME)


def test_copied_sound_is_the_source_s_to_the_sample(tmp_path):
    """From the very first sample on: the packet before the cut is there too, without which it would fade in."""
    times = np.arange(2 * RATE) / RATE
    chirp = (0.5 * np.sin(2 * np.pi * (200 + 400 * times) * times))[None].astype(np.float32)
    source = numbered_video(tmp_path / "in.mp4", 48, sound=chirp)
    assert write_mp4(tmp_path / "out.mp4", *resampled(source, 0.5, 1.5)).sound == "copied"
    original, cut = samples_of(source)[RATE // 2 :], samples_of(tmp_path / "out.mp4")
    assert np.abs(cut[:RATE] - original[:RATE]).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("in.mkv", {"sound_codec": "libopus", "sound_rate": 48000}),
        ("in.mkv", {"sound_codec": "libmp3lame"}),
        ("in.mov", {"sound_codec": "pcm_s16le"}),
        ("in.mkv", {"sound_codec": "flac", "sound_rate": 22050}),
        ("in.ts", {"sound_codec": "aac"}),
    ],
)
@pytest.mark.parametrize("start", [0.0, 1.013])
def test_other_sound_is_encoded_and_stays_in_time(tmp_path, name, how, start):
    rate = how.get("sound_rate", RATE)
    source = numbered_video(
        tmp_path / name,
        72,
        sound=beep(1.25, 3.0, rate, channels=2),
        sound_rate=rate,
        sound_codec=how["sound_codec"],
    )
    frames, sound = resampled(source, start, 2.5)
    with av.open(str(source)) as file:
        first = float(file.streams.video[0].start_time * file.streams.video[0].time_base)
    written = write_mp4(tmp_path / "out.mp4", frames, sound)
    assert written.sound == "encoded"
    assert beep_in(tmp_path / "out.mp4") == pytest.approx(beep_in(source) - first - start, abs=0.002)
    assert sound_length(tmp_path / "out.mp4") == pytest.approx(written.num_frames / 24, abs=AAC_FRAME * 44100 / rate)


@pytest.mark.parametrize("begins", [Fraction(0), Fraction(1, 2)])
def test_missing_sound_becomes_silence(tmp_path, begins):
    """A track of one second in a picture of three, from its beginning or from half a second on."""
    source = numbered_video(tmp_path / "in.mp4", 72, sound=beep(0.4, 1.0), sound_from=begins)
    written = write_mp4(tmp_path / "out.mp4", *resampled(source, 0.25, 3.0))
    assert written.sound == "encoded"
    assert beep_in(tmp_path / "out.mp4") == pytest.approx(0.4 + float(begins) - 0.25, abs=0.002)
    assert sound_length(tmp_path / "out.mp4") == pytest.approx(2.75, abs=AAC_FRAME)


def test_no_sound_is_none(tmp_path):
    source = numbered_video(tmp_path / "in.mp4", 24)
    assert find_sound(source, Fraction(0), Fraction(1)) is None


def test_sound_follows_the_picture_when_it_is_cut(tmp_path):
    """Fewer frames than the sound is long for: the sound ends with them."""
    source = numbered_video(tmp_path / "in.mp4", 72, sound=beep(0.3, 3.0))
    write_mp4(tmp_path / "out.mp4", pictures(24), find_sound(source, Fraction(0), Fraction(3)))
    assert sound_length(tmp_path / "out.mp4") == pytest.approx(1.0, abs=AAC_FRAME)


def test_picture_and_sound_are_interleaved(tmp_path):
    """Neither has to be read to its end to find the other: at most a second apart in the file."""
    source = numbered_video(tmp_path / "in.mp4", 240, 64, 36, sound=beep(1.0, 10.0))
    frames = VideoFrames(source, 64, 36, Fraction(24))
    write_mp4(tmp_path / "out.mp4", frames, find_sound(source, *frames.source_range))
    times = {"audio": 0.0, "video": 0.0}
    with av.open(str(tmp_path / "out.mp4")) as file:
        places = sorted(
            (packet.pos, packet.stream.type, float(packet.dts * packet.time_base))
            for packet in file.demux()
            if packet.size
        )
    for _, kind, time in places:
        times[kind] = time
        assert abs(times["audio"] - times["video"]) < 1.5


class _Failing(Frames):
    """Frames of which the second chunk cannot be read."""

    def __init__(self, error: BaseException):
        self.width, self.height, self.num_frames, self.fps, self.error = 64, 36, 40, Fraction(24), error

    def read(self, start: int, stop: int) -> torch.Tensor:
        if start >= 8:
            raise self.error
        return torch.zeros((stop - start, 36, 64, 3), dtype=torch.uint8)


@pytest.mark.parametrize("error", [MotionError("video_unreadable", "It broke."), KeyboardInterrupt()])
def test_a_failure_leaves_nothing_and_the_old_file_stays(tmp_path, error):
    (tmp_path / "out.mp4").write_bytes(b"old")
    with pytest.raises(type(error)):
        write_mp4(tmp_path / "out.mp4", _Failing(error))
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"old"


def test_progress_counts_frames_and_can_stop_the_writing(tmp_path):
    seen = []
    write_mp4(tmp_path / "out.mp4", pictures(20, 64, 36), on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 20), (8, 20), (16, 20), (20, 20)]

    def stop(done: int, total: int) -> None:
        if done:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        write_mp4(tmp_path / "stopped.mp4", pictures(20, 64, 36), on_progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


class _Counting(Frames):
    """Remembers the largest piece it was asked for."""

    def __init__(self, count: int):
        self.width, self.height, self.num_frames, self.fps, self.largest = 64, 36, count, Fraction(24), 0

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.largest = max(self.largest, stop - start)
        return torch.zeros((stop - start, 36, 64, 3), dtype=torch.uint8)


def test_a_long_video_is_read_in_small_pieces(tmp_path):
    frames = _Counting(500)
    write_mp4(tmp_path / "out.mp4", frames, preset="ultrafast")
    assert frames.largest <= 16
