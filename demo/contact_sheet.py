"""A contact sheet: frames of a result beside the driving video's frames of the same moments, as one PNG.

    python -m demo.contact_sheet result.mp4 driving.mp4 sheet.png "Title" "Note"

Each frame is sought in its file, so the length of the videos costs neither memory nor much time.
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont, ImageOps

WIDTH = 1600
MARGIN, GAP, PAIR_GAP, LABEL = 28, 24, 6, 30
PAPER, INK, FAINT, EMPTY = "#f7f6f2", "#1d2126", "#6b7178", "#d9d7d0"
NOTE_PAPER, NOTE_INK, NOTE_EDGE = "#fff1b8", "#5c4300", "#e0a800"


def frames_at(path: Path, moments: Sequence[float]) -> Iterator[Image.Image]:
    """The frames on show at the given moments, ascending seconds from the video's start, one at a time.

    A moment after the end gives the last frame. Raises ValueError for a file without pictures.
    """
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path} has no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        base = stream.time_base or 1
        start = float((stream.start_time or 0) * base)
        for moment in moments:
            # Half a millisecond, because 1/24 s is no round number in every time base.
            wanted = start + moment + 0.0005
            container.seek(int(wanted / base), stream=stream)
            shown: av.VideoFrame | None = None
            for frame in container.decode(stream):
                if shown is not None and (frame.time or 0.0) > wanted:
                    break
                shown = frame
            if shown is None:
                raise ValueError(f"{path} shows nothing at {moment:.3f} s")
            image = shown.to_image()
            yield image.rotate(shown.rotation, expand=True) if shown.rotation else image


def moments_of(path: Path, count: int) -> list[float]:
    """`count` moments in seconds, evenly from the first frame to the last."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path} has no video stream")
        stream = container.streams.video[0]
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        last = max(0.0, seconds - 1 / float(stream.average_rate or 24))
    return [last * index / max(1, count - 1) for index in range(count)]


def write_contact_sheet(
    result: Path,
    driving: Path,
    out_png: Path,
    *,
    title: str,
    note: str,
    driving_start_s: float = 0.0,
    count: int = 12,
    columns: int = 3,
) -> Path:
    """Writes the sheet and returns its path.

    `note` stands in a box that cannot be overlooked: what the reader must know to judge the pictures.
    `driving_start_s`: where in the driving video the result begins (the job's start_time).
    """
    moments = moments_of(result, count)
    first = next(frames_at(result, [0.0]))
    pair = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    side = (pair - PAIR_GAP) // 2
    tall = round(side * first.height / first.width)
    rows = -(-count // columns)
    note_lines = textwrap.wrap(note, 132)
    top = MARGIN + 46 + 30 + 16 + (len(note_lines) * 29 + 22 if note_lines else 0) + 22
    sheet = Image.new("RGB", (WIDTH, top + rows * (LABEL + tall + 16) + MARGIN - 16), PAPER)
    draw = ImageDraw.Draw(sheet)
    _header(draw, title, f"{count} moments: the driving video on the left, the result on the right", note_lines)
    pictures = zip(
        moments,
        frames_at(driving, [moment + driving_start_s for moment in moments]),
        frames_at(result, moments),
        strict=True,
    )
    for index, (moment, before, after) in enumerate(pictures):
        x = MARGIN + index % columns * (pair + GAP)
        y = top + index // columns * (LABEL + tall + 16)
        draw.text((x, y + 4), f"{moment:.2f} s", INK, _font(19))
        draw.text((x + side, y + 5), "driving", FAINT, _font(17), anchor="ra")
        draw.text((x + pair, y + 5), "result", FAINT, _font(17), anchor="ra")
        sheet.paste(_fitted(before, side, tall), (x, y + LABEL))
        sheet.paste(_fitted(after, side, tall), (x + side + PAIR_GAP, y + LABEL))
    out_png.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out_png, optimize=True)
    return out_png


def _header(draw: ImageDraw.ImageDraw, title: str, legend: str, note_lines: Sequence[str]) -> None:
    draw.text((MARGIN, MARGIN), title, INK, _font(34))
    draw.text((MARGIN, MARGIN + 46), legend, FAINT, _font(20))
    if note_lines:
        top = MARGIN + 46 + 30 + 16
        box = (MARGIN, top, WIDTH - MARGIN, top + len(note_lines) * 29 + 22)
        draw.rounded_rectangle(box, 8, NOTE_PAPER, NOTE_EDGE, 2)
        for index, line in enumerate(note_lines):
            draw.text((MARGIN + 18, top + 10 + index * 29), line, NOTE_INK, _font(23))


def _fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """The whole picture inside width x height, bars where its shape differs."""
    return ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS, color=EMPTY)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    print(write_contact_sheet(*map(Path, sys.argv[1:4]), title=sys.argv[4], note=sys.argv[5]))
