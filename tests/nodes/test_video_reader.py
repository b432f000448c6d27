"""reader.py on odd files: which frame comes out is read from the picture itself, never only counted."""

import gc
import warnings
from fractions import Fraction

import numpy as np
import pytest

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.video.index import scan
from custom_nodes.comfy_motion.video.reader import VideoFrames
from custom_nodes.comfy_motion.video.timeline import CLOCK_GRACE

from .video_samples import BACKGROUND, CORNERS, numbered, numbered_video, numbers_in, write_video

SIZE = 320, 180
B_FRAMES = {"crf": "10", "preset": "veryfast", "bf": "3", "g": "12", "refs": "3"}


def frames_of(path, size=SIZE, fps=Fraction(24), **how) -> VideoFrames:
    return VideoFrames(path, *size, fps, **how)


def all_numbers(frames: VideoFrames) -> list[int]:
    return [number for chunk in frames.chunks(7) for number in numbers_in(chunk)]


def assert_everywhere_the_same(frames: VideoFrames, wanted: list[int]) -> None:
    """In order, then in ranges that jump about: always the frames of `wanted`."""
    assert frames.num_frames == len(wanted)
    assert all_numbers(frames) == wanted
    frames.close()
    frames._room = 1  # these pictures are so small that all of them would be kept, and nothing decoded again
    rng = np.random.default_rng(1)
    for _ in range(12):
        start = int(rng.integers(0, len(wanted)))
        stop = int(rng.integers(start, min(len(wanted), start + 9) + 1))
        assert numbers_in(frames.read(start, stop)) == wanted[start:stop]


FILES = {
    "plain.mp4": {},
    "b_frames.mp4": {"options": B_FRAMES},
    "b_frames.mkv": {"options": B_FRAMES},
    "b_frames.mov": {"options": B_FRAMES},
    "open_gop.mp4": {
        "options": {**B_FRAMES, "x264-params": "open-gop=1:keyint=12:min-keyint=4:bframes=3:b-pyramid=normal"}
    },
    "open_gop.mkv": {
        "options": {**B_FRAMES, "x264-params": "open-gop=1:keyint=12:min-keyint=4:bframes=3:b-pyramid=normal"}
    },
    "open_gop_hevc.mp4": {
        "codec": "libx265",
        "options": {
            "preset": "ultrafast",
            "x265-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:log-level=none",
        },
    },
    "stream.ts": {"options": B_FRAMES},
    "old.avi": {"codec": "mpeg4", "options": {"qscale": "2", "b": "4M"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "b": "2M"}},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "ten_bit_hevc.mp4": {
        "codec": "libx265",
        "pix_fmt": "yuv420p10le",
        "options": {"preset": "ultrafast", "x265-params": "log-level=none"},
    },
    "full_chroma.mp4": {"pix_fmt": "yuv444p"},
    "rgb.mp4": {"codec": "libx264rgb", "pix_fmt": "rgb24"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le", "options": {}},
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_right_frames(tmp_path, name):
    path = numbered_video(tmp_path / name, 40, **FILES[name])
    assert_everywhere_the_same(frames_of(path), list(range(40)))


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_odd_sizes(tmp_path, codec):
    fmt, options = ("yuv444p", None) if codec == "libx264" else ("yuv420p", FILES["vp9.webm"]["options"])
    path = numbered_video(tmp_path / "odd.mkv", 8, 641, 359, codec=codec, pix_fmt=fmt, options=options)
    frames = frames_of(path, (641, 359))
    assert all_numbers(frames) == list(range(8))
    # The last column and row are picture, not leftovers of the decoder's padding.
    picture = frames.read(0, 1)[0].numpy().astype(int)
    assert np.abs(picture[100, -1] - BACKGROUND).max() < 12
    assert np.abs(picture[-1, 400] - BACKGROUND).max() < 12
    assert all_numbers(frames_of(path, (320, 176))) == list(range(8))


def test_variable_rate_in_milliseconds(tmp_path):
    """A Matroska file whose frames last 20 to 300 ms: at every output time the frame that a player would show."""
    lengths = np.random.default_rng(5).integers(20, 300, 30)
    times = [0, *np.cumsum(lengths).tolist()]
    path = numbered_video(tmp_path / "vfr.mkv", 31, ticks=times, time_base=Fraction(1, 1000))
    frames = frames_of(path, fps=Fraction(24))
    wanted = [int(np.searchsorted(times, i / 24 * 1000 + 1, "right")) - 1 for i in range(frames.num_frames)]
    assert_everywhere_the_same(frames, wanted)
    assert frames.num_frames >= times[-1] * 24 // 1000


def test_variable_rate_in_mp4(tmp_path):
    times = [0, 512, 1024, 4096, 4608, 9216, 9728]
    path = numbered_video(tmp_path / "vfr.mp4", 7, ticks=times, time_base=Fraction(1, 12288))
    wanted = [int(np.searchsorted(times, i * 512, "right")) - 1 for i in range(20)]
    assert all_numbers(frames_of(path)) == wanted


@pytest.mark.parametrize(
    "rate", [Fraction(30), Fraction(25), Fraction(60), Fraction(30000, 1001), Fraction(24000, 1001)]
)
def test_other_rates(tmp_path, rate):
    path = numbered_video(tmp_path / "rate.mp4", 60, rate=rate, options=B_FRAMES)
    frames = frames_of(path)
    wanted = [int((i / Fraction(24) + CLOCK_GRACE) * rate) for i in range(frames.num_frames)]
    assert_everywhere_the_same(frames, wanted)
    assert frames.num_frames == int(60 / rate * 24 + Fraction(1, 2))


@pytest.mark.parametrize(("rotation", "hflip"), [(90, False), (180, False), (-90, False), (0, True), (90, True)])
def test_rotation_flags(tmp_path, rotation, hflip):
    """The file holds the picture turned; its flag says how to show it upright."""
    pictures = [numbered(i) for i in range(5)]
    stored = [np.rot90(np.fliplr(p) if hflip else p, -rotation // 90) for p in pictures]
    path = write_video(tmp_path / "phone.mp4", stored, rotation=rotation, hflip=hflip)
    picture = frames_of(path).read(2, 3)[0].numpy().astype(int)
    assert numbers_in([picture]) == [2]
    for spot, at in {"top left": (8, 8), "top right": (8, -8), "bottom left": (-8, 8)}.items():
        assert np.abs(picture[at] - CORNERS[spot]).max() < 25, spot
    assert np.abs(picture[-8, -8] - BACKGROUND).max() < 25


def test_a_range(tmp_path):
    path = numbered_video(tmp_path / "long.mp4", 96, options=B_FRAMES)
    frames = frames_of(path, start_time=Fraction(1), end_time=Fraction(5, 2))
    assert_everywhere_the_same(frames, list(range(24, 60)))
    assert frames.source_range == (1, Fraction(5, 2))


def test_a_trimmed_video_is_counted_from_its_trim(tmp_path):
    path = numbered_video(tmp_path / "long.mp4", 96)
    frames = frames_of(path, trim_start=Fraction(1), trim_length=Fraction(2), start_time=Fraction(1, 2))
    assert all_numbers(frames) == list(range(36, 72))
    assert frames.source_range == (Fraction(3, 2), 3)
    with pytest.raises(MotionError, match="range_outside_video"):
        frames_of(path, trim_start=Fraction(1), trim_length=Fraction(2), end_time=Fraction(5, 2))


def test_pad_and_crop(tmp_path):
    path = numbered_video(tmp_path / "wide.mp4", 2, 320, 160)
    padded = frames_of(path, (320, 320)).read(0, 1)[0].numpy()
    assert padded[:80].max() == padded[240:].max() == 0
    assert numbers_in(padded[None, 80:240]) == [0]
    cropped = frames_of(path, (160, 160), fit="crop").read(0, 1)[0].numpy().astype(int)
    assert np.abs(cropped[10, 10] - BACKGROUND).max() < 12  # the corner marks are outside


def test_anamorphic_video_is_shown_in_its_own_shape(tmp_path):
    """240x180 stored pixels, each a third wider than high: a 16:9 picture that fills 320x180 without bars."""

    def wide_pixels(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    path = numbered_video(tmp_path / "wide_pixels.mp4", 3, 240, 180, setup=wide_pixels)
    frames = frames_of(path, (320, 180))
    assert all_numbers(frames) == [0, 1, 2]
    assert frames.read(0, 1)[0, :, [0, -1]].amax() > 100


def test_a_file_without_picture_times_is_counted(tmp_path):
    """A bare H.264 stream has no clock: frames come in order, at the rate it names."""
    path = numbered_video(tmp_path / "bare.h264", 30, options={"crf": "10", "preset": "ultrafast"})
    assert scan(path).counted
    assert_everywhere_the_same(frames_of(path, fps=scan(path).time_base ** -1), list(range(30)))


def test_reading_in_order_decodes_every_frame_once(tmp_path):
    """One key frame for all: a reader that seeks for every window would decode far more."""
    path = numbered_video(tmp_path / "one_gop.mp4", 100, options={**B_FRAMES, "g": "1000"})
    frames = frames_of(path)
    for start in range(0, 96, 12):
        stop = min(start + 17, 100)
        assert numbers_in(frames.read(start, stop)) == list(range(start, stop))
    assert frames.frames_decoded <= 100


def test_repeated_frames_are_decoded_once_and_are_equal(tmp_path):
    path = numbered_video(tmp_path / "slow.mp4", 20, rate=Fraction(6))
    frames = frames_of(path)
    assert all_numbers(frames) == [i // 4 for i in range(80)]
    assert frames.frames_decoded == 20


def test_a_second_reader_close_behind_costs_nothing(tmp_path):
    path = numbered_video(tmp_path / "one_gop.mp4", 64, options={**B_FRAMES, "g": "1000"})
    frames = frames_of(path)
    for start in range(0, 64, 16):
        assert numbers_in(frames.read(start, start + 16)) == numbers_in(frames.read(start, start + 16))
    assert frames.frames_decoded == 64


def test_seeking_does_not_decode_from_the_beginning(tmp_path):
    for name in ("keys.mp4", "keys.mkv"):
        path = numbered_video(tmp_path / name, 200, options=B_FRAMES)
        frames = frames_of(path)
        assert numbers_in(frames.read(150, 152)) == [150, 151]
        assert frames.frames_decoded < 30


def test_close_is_final_for_nothing_and_leaves_no_handle(tmp_path):
    path = numbered_video(tmp_path / "plain.mp4", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        frames = frames_of(path)
        frames.read(0, 3)
        frames.close()
        frames.close()
        assert numbers_in(frames.read(2, 5)) == [2, 3, 4]
        del frames
        gc.collect()


def test_frames_are_freed_at_once(tmp_path):
    """Nothing that was decoded waits for the garbage collector: what it finds does not grow with the video."""
    frames = frames_of(numbered_video(tmp_path / "plain.mp4", 60))
    frames.read(0, 2)
    gc.disable()
    try:
        gc.collect()
        frames.read(2, 60)
        assert gc.collect() < 20
    finally:
        gc.enable()


def test_outside_is_an_index_error(tmp_path):
    frames = frames_of(numbered_video(tmp_path / "plain.mp4", 10))
    assert frames.read(3, 3).shape == (0, 180, 320, 3)
    for start, stop in ((-1, 2), (5, 11), (4, 3)):
        with pytest.raises(IndexError):
            frames.read(start, stop)


def test_the_kept_pictures_are_not_handed_out(tmp_path):
    frames = frames_of(numbered_video(tmp_path / "plain.mp4", 4))
    frames.read(0, 4).zero_()
    assert numbers_in(frames.read(0, 4)) == [0, 1, 2, 3]


def test_colours_by_tag_and_by_size(tmp_path):
    """Saturated colours through BT.601 and BT.709, limited and full: within 3 of 255 of what went in."""
    colours = np.array([[200, 40, 40], [40, 180, 60], [30, 60, 210], [128, 128, 128]], np.uint8)

    def seen(name, height, width, matrix, full, tag):
        picture = np.repeat(np.repeat(colours[None], height, 0), width // 4, 1)
        path = tmp_path / name
        _write_with_matrix(path, picture, matrix, full, tag)
        image = frames_of(path, (width, height)).read(0, 1)[0].numpy()
        return image[height // 2, width // 8 :: width // 4].astype(int)

    for name, height, width, matrix, full, tag in (
        ("hd_untagged.mp4", 720, 1280, 1, False, False),
        ("sd_untagged.mp4", 480, 640, 5, False, False),
        ("sd_tagged_709.mp4", 480, 640, 1, False, True),
        ("hd_tagged_601.mp4", 720, 1280, 5, False, True),
        ("full_range.mp4", 480, 640, 5, True, True),
    ):
        assert np.abs(seen(name, height, width, matrix, full, tag) - colours).max() <= 3, name


def _write_with_matrix(path, picture, matrix, full, tag):
    """Two frames in YUV by a matrix computed here (1 = BT.709, 5 = BT.601), so that swscale is not judge of itself."""
    import av

    red, blue = {1: (0.2126, 0.0722), 5: (0.299, 0.114)}[matrix]
    rgb = picture.astype(float) / 255
    luma = red * rgb[..., 0] + (1 - red - blue) * rgb[..., 1] + blue * rgb[..., 2]
    chroma = (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)
    scale, offset, swing = (255, 0, 255) if full else (219, 16, 224)
    planes = [luma * scale + offset, *(c[::2, ::2] * swing + 128 for c in chroma)]
    flat = np.concatenate([np.round(p).astype(np.uint8).reshape(-1) for p in planes])
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"qp": "1", "preset": "ultrafast"}
        if tag:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = 2 if full else 1
        for i in range(2):
            frame = av.VideoFrame.from_ndarray(flat.reshape(-1, picture.shape[1]), format="yuv420p")
            frame.pts = i
            if tag:
                frame.colorspace, frame.color_range = matrix, 2 if full else 1
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def refusal(action) -> MotionError:
    with pytest.raises(MotionError) as caught:
        action()
    return caught.value


def test_a_text_file_named_mp4(tmp_path):
    path = tmp_path / "page.mp4"
    path.write_text("<html><body>not found</body></html>" * 100)
    error = refusal(lambda: frames_of(path))
    assert error.code == "video_unreadable"
    assert "page.mp4" in error.message
    assert str(tmp_path) not in str(error)


def test_a_playlist_named_mp4_is_not_followed(tmp_path):
    numbered_video(tmp_path / "secret.ts", 10)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile secret.ts\n")
    for name in ("list.mp4", "concat.mp4"):
        assert refusal(lambda name=name: frames_of(tmp_path / name)).code == "video_unreadable"


def test_an_empty_and_a_missing_file(tmp_path):
    (tmp_path / "empty.mp4").touch()
    for name in ("empty.mp4", "missing.mp4"):
        assert refusal(lambda name=name: frames_of(tmp_path / name)).code == "video_unreadable"


def test_sound_alone_is_no_video(tmp_path):
    import av

    with av.open(str(tmp_path / "song.mp4"), "w") as output:
        track = output.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        output.mux(track.encode(frame))
        output.mux(track.encode(None))
    assert "no pictures" in refusal(lambda: frames_of(tmp_path / "song.mp4")).message


def test_a_cut_off_file_says_at_which_second(tmp_path):
    """The index in front promises 72 frames, the data ends earlier."""
    how = {"options": B_FRAMES, "sound": np.zeros((1, 3 * 44100), np.float32)}
    whole = numbered_video(tmp_path / "whole.mp4", 72, 640, 360, **how)
    front = tmp_path / "front.mp4"
    _index_to_front(whole, front)
    data = front.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 6 // 10])
    error = refusal(lambda: frames_of(tmp_path / "cut.mp4"))
    assert error.code == "video_unreadable"
    second = float(error.message.split("at second ")[1].split(":")[0])
    assert 0.5 < second < 2.9
    (tmp_path / "headless.mp4").write_bytes(whole.read_bytes()[: len(data) // 2])
    assert refusal(lambda: frames_of(tmp_path / "headless.mp4")).code == "video_unreadable"


def test_damage_in_the_middle_is_found_while_decoding(tmp_path):
    """The file's structure is whole, its pictures from the middle on are not."""
    path = numbered_video(tmp_path / "damaged.mp4", 48, options={"crf": "1", "preset": "ultrafast", "g": "1"})
    data = bytearray(path.read_bytes())
    packets = _packet_places(path)
    for at, size in packets[24:30]:
        data[at + 4 : at + size] = bytes(size - 4)
    path.write_bytes(data)
    frames = frames_of(path)
    error = refusal(lambda: all_numbers(frames))
    assert error.code == "video_unreadable"
    assert 0.9 < float(error.message.split("at second ")[1].split(":")[0]) < 1.3
    assert numbers_in(frames.read(0, 20)) == list(range(20))


def test_one_frame_is_too_short(tmp_path):
    path = numbered_video(tmp_path / "one.mp4", 1)
    assert refusal(lambda: frames_of(path)).code == "video_too_short"


def test_the_scan_decodes_nothing_and_knows_the_duration(tmp_path):
    index = scan(numbered_video(tmp_path / "b.mp4", 50, rate=Fraction(25), options=B_FRAMES))
    assert index.duration == 2
    assert [float(time) for time in index.times] == [i / 25 for i in range(50)]
    assert [number for number, _ in index.keys][:2] == [0, 12]


def _index_to_front(source, target):
    import av

    with av.open(str(source)) as old, av.open(str(target), "w", options={"movflags": "faststart"}) as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                new.mux(packet)


def _packet_places(path) -> list[tuple[int, int]]:
    import av

    with av.open(str(path)) as source:
        return [(packet.pos, packet.size) for packet in source.demux(video=0) if packet.size]
