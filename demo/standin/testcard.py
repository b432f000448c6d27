"""A video that nobody can take for a result: colour bars, the word STAND-IN, a frame counter, a tone."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

SAMPLE_RATE = 48_000
TONE_HZ = 440.0
_BARS = ((191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191))


@dataclass(frozen=True)
class Card:
    """What to write: pixels, frames a second, frames, and whether there is a tone."""

    width: int = 640
    height: int = 360
    fps: Fraction = Fraction(24)
    num_frames: int = 48
    sound: bool = False


def write_test_card(path: Path, card: Card) -> None:
    """Write an H.264 yuv420p MP4 with faststart, and AAC of the same length where the card has sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = card.width & ~1, card.height & ~1
    base = _base(width, height)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as output:
        picture = output.add_stream("libx264", rate=card.fps, options={"preset": "ultrafast", "crf": "20"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        picture.time_base = 1 / card.fps
        context = picture.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 1, 1, 1  # BT.709
        context.color_range = 1
        tone = output.add_stream("aac", rate=SAMPLE_RATE, layout="stereo") if card.sound else None
        samples = 0
        for index in range(card.num_frames):
            frame = av.VideoFrame.from_ndarray(_numbered(base, width, height, index), format="yuv420p")
            frame.pts, frame.time_base = index, 1 / card.fps
            output.mux(picture.encode(frame))
            until = round((index + 1) / card.fps * SAMPLE_RATE)
            if tone is not None:
                output.mux(tone.encode(_tone(samples, until)))
                samples = until
        output.mux(picture.encode(None))
        if tone is not None:
            output.mux(tone.encode(None))


def _base(width: int, height: int) -> np.ndarray:
    """The part that never changes: uint8 yuv420p planes [height * 3 / 2, width], BT.709."""
    rgb = np.zeros((height, width, 3), np.uint8)
    edges = [round(index * width / len(_BARS)) for index in range(len(_BARS) + 1)]
    for colour, left, right in zip(_BARS, edges, edges[1:], strict=False):
        rgb[:, left:right] = colour
    rgb[int(height * 0.36) : int(height * 0.86)] = 0
    _write(rgb, "STAND-IN", 0.58, 0.20, (255, 255, 255))
    _write(rgb, "test card, no model ran", 0.68, 0.05, (255, 255, 0))
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG").to_ndarray()


def _numbered(base: np.ndarray, width: int, height: int, index: int) -> np.ndarray:
    """The planes of one frame: the base, its number, and a block that walks along the bottom; brightness only."""
    planes = base.copy()
    luma = planes[:height]
    _write(luma, f"frame {index:05d}", 0.80, 0.08, 235)
    left = round((index * 0.02 % 1.0) * width * 0.9)
    luma[int(height * 0.9) :, left : left + max(2, width // 10)] = 235
    return planes


def _write(image: np.ndarray, text: str, bottom: float, size: float, colour: int | tuple[int, ...]) -> None:
    """Centred text; `bottom` and `size` are fractions of the height. Never wider than the picture."""
    height, width = image.shape[:2]
    scale, thick = size * height / 22, max(1, round(size * height / 10))
    wide = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)[0][0]
    scale *= min(1.0, 0.95 * width / wide)
    wide = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)[0][0]
    place = ((width - wide) // 2, int(bottom * height))
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick, cv2.LINE_AA)


def _tone(start: int, stop: int) -> av.AudioFrame:
    """The samples start..stop-1 of the tone, on both channels."""
    wave = 0.2 * np.sin(2 * np.pi * TONE_HZ / SAMPLE_RATE * np.arange(start, stop))
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
    return frame
