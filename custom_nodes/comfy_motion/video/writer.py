"""Lazy frames to an MP4 that every player and browser takes: H.264 High, 8-bit 4:2:0, BT.709, index in front."""

import os
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from .color import ToYuv
from .frames import Frames
from .sound import Sound
from .soundtrack import Soundtrack, add_soundtrack

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow")
DEFAULT_CRF = 17.0
DEFAULT_PRESET = "veryfast"
_CHUNK = 8


@dataclass(frozen=True)
class Written:
    """What was written: frames, and what became of the sound ("copied", "encoded" or "none")."""

    path: Path
    num_frames: int
    width: int
    height: int
    sound: str


def write_mp4(
    path: str | Path,
    frames: Frames,
    sound: Sound | None = None,
    crf: float = DEFAULT_CRF,
    preset: str = DEFAULT_PRESET,
    on_progress: Callable[[int, int], None] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Written:
    """Write all frames, a few at a time, with their sound cut to the picture's length.

    crf: H.264 quality, 0 (lossless) to 51. on_progress(frames done, all frames) after every chunk; what it raises
    stops the writing. 4:2:0 has no odd sizes: an odd width or height loses its last column or row.
    The sound is as long as the picture, within one AAC frame; where the source's is shorter, silence follows.
    The file appears under its name only when it is whole. Raises MotionError video_unreadable from its sources.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part")
    try:
        result = _write(part, frames, sound, crf, preset, on_progress or (lambda done, total: None), metadata or {})
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return Written(path, frames.num_frames, *result)


def _write(part: Path, frames: Frames, sound, crf, preset, on_progress, metadata) -> tuple[int, int, str]:
    flags = "+faststart" + ("+use_metadata_tags" if metadata else "")
    with ExitStack() as stack:
        output = stack.enter_context(av.open(str(part), mode="w", format="mp4", options={"movflags": flags}))
        output.metadata.update(metadata)
        stream = _picture_stream(output, frames, crf, preset)
        track: Soundtrack | None = None
        if sound is not None:
            length = Fraction(frames.num_frames) / frames.fps
            track, source = add_soundtrack(output, Sound(sound.path, sound.stream, sound.start, sound.start + length))
            stack.callback(source.close)
        _write_chunks(output, stream, frames, track, on_progress)
    return stream.width, stream.height, "none" if track is None else "copied" if track.copied else "encoded"


def _picture_stream(output, frames: Frames, crf: float, preset: str):
    stream = output.add_stream("libx264", rate=frames.fps)
    stream.width, stream.height = frames.width // 2 * 2, frames.height // 2 * 2
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / frames.fps
    context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
    # Lossless is a profile of its own, which x264 chooses by itself; the high profile refuses it.
    profile = {} if crf == 0 else {"profile": "high"}
    stream.options = {"crf": str(crf), "preset": preset, **profile}
    return stream


def _write_chunks(output, stream, frames: Frames, track: Soundtrack | None, on_progress) -> None:
    """Read a chunk while the one before it is encoded: libx264 alone does not keep two cores busy."""
    to_yuv = ToYuv()

    def encode(chunk: torch.Tensor, first: int) -> int:
        for number, image in enumerate(_even(chunk), start=first):
            picture = to_yuv(image.numpy())
            picture.pts, picture.time_base, picture.duration = number, 1 / frames.fps, 1
            output.mux(stream.encode(picture))
        done = first + len(chunk)
        if track is not None:
            output.mux(list(track.pump(done / frames.fps)))
        return done

    on_progress(0, frames.num_frames)
    read = 0
    # Reading stays in this thread: lazy frames may compute with torch, whose modes belong to a thread.
    with ThreadPoolExecutor(1, "comfy-motion-encoder") as encoder:
        encoding: Future[int] | None = None
        for chunk in frames.chunks(_CHUNK):
            if encoding is not None:
                on_progress(encoding.result(), frames.num_frames)
            encoding = encoder.submit(encode, chunk, read)
            read += len(chunk)
        if encoding is not None:
            on_progress(encoding.result(), frames.num_frames)
    output.mux(stream.encode(None))
    if track is not None:
        output.mux(list(track.pump()))


def _even(chunk: torch.Tensor) -> torch.Tensor:
    """The chunk without an odd last row or column, uint8 [n, h, w, 3]."""
    height, width = chunk.shape[1] // 2 * 2, chunk.shape[2] // 2 * 2
    return chunk[:, :height, :width]
