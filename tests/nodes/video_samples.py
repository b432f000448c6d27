"""Small odd videos whose every frame carries its own number, made with PyAV for the tests."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 10
BACKGROUND = (40, 90, 160)
# The corner marks: a picture that is turned or mirrored shows them elsewhere.
CORNERS = {"top left": (220, 30, 30), "top right": (30, 200, 30), "bottom left": (30, 30, 220)}


def numbered(number: int, width: int = 320, height: int = 180) -> np.ndarray:
    """A picture that says its number in black and white blocks along the middle, uint8 [h, w, 3]."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = BACKGROUND
    mark_h, mark_w = height // 5, width // 8
    image[:mark_h, :mark_w] = CORNERS["top left"]
    image[:mark_h, -mark_w:] = CORNERS["top right"]
    image[-mark_h:, :mark_w] = CORNERS["bottom left"]
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        image[height // 3 : height * 2 // 3, edges[bit] : edges[bit + 1]] = 255 * (number >> bit & 1)
    return image


def number_in(image: np.ndarray) -> int:
    """The number that a picture from `numbered` says, whatever its size (it fills the picture, without bars)."""
    height, width = image.shape[:2]
    edges = np.linspace(0, width, BITS + 1)
    centres = ((edges[:-1] + edges[1:]) / 2).astype(int)
    blocks = image[height // 2, centres].mean(-1)
    assert ((blocks < 60) | (blocks > 195)).all(), f"no number in this picture: {blocks}"
    return int(sum(1 << bit for bit, value in enumerate(blocks) if value > 128))


def numbers_in(images) -> list[int]:
    return [number_in(np.asarray(image)) for image in images]


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction = Fraction(24),
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    rotation: int | None = None,
    hflip: bool = False,
    sound: np.ndarray | None = None,
    sound_rate: int = 44100,
    sound_codec: str = "aac",
    sound_from: Fraction = Fraction(0),
    setup=lambda stream: None,
) -> Path:
    """The pictures as a video. ticks: presentation times in `time_base`; rotation: degrees counterclockwise to show
    it upright; sound: float32 [channels, n], beginning at `sound_from` seconds."""
    time_base = time_base or 1 / rate
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options = pix_fmt, options or {"crf": "10", "preset": "ultrafast"}
        stream.codec_context.time_base = time_base
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=hflip)
        setup(stream)
        if sound is not None:
            track = output.add_stream(sound_codec, rate=sound_rate, layout="mono" if len(sound) == 1 else "stereo")
            _write_sound(output, track, sound, sound_rate, sound_from)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = (ticks[number] if ticks else number), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def numbered_video(path: Path, count: int = 30, width: int = 320, height: int = 180, **how) -> Path:
    """`count` numbered pictures as a video."""
    return write_video(path, [numbered(i, width, height) for i in range(count)], **how)


def hide_first_frames(path: Path, count: int, rate: int = 24) -> Path:
    """Has the MP4's edit list begin `count` frames later: they are decoded and never shown."""
    data = bytearray(path.read_bytes())
    media_time = data.find(b"elst") + 16  # ISO/IEC 14496-12, 8.6.6: where in the media the first edit begins
    ticks = struct.unpack_from(">I", data, data.find(b"mdhd") + 16)[0]  # 8.4.2: of the media, a second
    begin = struct.unpack_from(">i", data, media_time)[0] + count * ticks // rate
    struct.pack_into(">i", data, media_time, begin)
    path.write_bytes(data)
    return path


def without_first_packets(source: Path, target: Path, count: int) -> Path:
    """The video's packets as they are, without the first ones: it begins between two key frames."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if number >= count and packet.size:
                packet.stream = stream
                new.mux(packet)
    return target


def beep(at: float, length: float, rate: int = 44100, channels: int = 1) -> np.ndarray:
    """Silence with 50 ms of 1 kHz at second `at`, float32 [channels, n]."""
    times = np.arange(round(length * rate)) / rate
    wave = np.where((times >= at) & (times < at + 0.05), 0.8 * np.sin(2 * np.pi * 1000 * times), 0)
    return np.repeat(wave[None].astype(np.float32), channels, 0)


def beep_in(path: Path) -> float:
    """When the first beep begins in a file's sound as a player gives it, seconds; includes the track's own delay."""
    with av.open(str(path)) as source:
        to_planes = av.AudioResampler(format="fltp")
        for frame in source.decode(audio=0):
            samples = np.abs(to_planes.resample(frame)[0].to_ndarray()).max(0)
            loud = np.flatnonzero(samples > 0.3)
            if len(loud):
                return float(frame.pts * frame.time_base) + float(loud[0]) / frame.sample_rate
    raise AssertionError("no beep")


def sound_length(path: Path) -> float:
    """Seconds of sound that come out of the decoder."""
    with av.open(str(path)) as source:
        return sum(frame.samples / frame.sample_rate for frame in source.decode(audio=0))


def _write_sound(output, track, sound: np.ndarray, rate: int, begins: Fraction) -> None:
    is_planar = track.format.is_planar
    kind = track.format.name
    size = track.codec_context.frame_size or 1024
    for at in range(0, sound.shape[1], size):
        piece = np.ascontiguousarray(sound[:, at : at + size])
        if kind.startswith("s16"):
            piece = (piece * 32767).astype(np.int16)
        elif kind.startswith("s32"):
            piece = (piece * (2**31 - 1)).astype(np.int32)
        if not is_planar:
            piece = np.ascontiguousarray(piece.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(piece, format=kind, layout=track.layout.name)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = at + round(begins * rate)
        output.mux(track.encode(frame))
    output.mux(track.encode(None))
