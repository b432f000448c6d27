"""The project's own small input, drawn by program: a standing person, and a driving video of somebody who waves.

    python -m demo.sample [folder]      writes person.png and driving.mp4; default demo/assets

Everything is deterministic: the same code gives the same pictures. numpy and OpenCV draw, PyAV writes the video.
"""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from demo.body import Look, Pose, person
from demo.figure import Array, Canvas, draw_groups, finish
from demo.scenery import room, studio

ASSETS = Path(__file__).parent / "assets"
PERSON_SIZE = (720, 1280)
VIDEO_SIZE = (1280, 720)
FPS = 24
NUM_FRAMES = 25
SOUND_RATE = 48_000
LARGER = 2  # drawn this many times larger, then reduced: smooth edges

PERSON = Look("#e8b796", "#4a2a1c", "#d8563f", "#f4efe6", "#31456b", "#f1efe9", "#4f7a5c", "bob")
DRIVER = Look("#b97f5b", "#1d1816", "#5b6f9a", "#e7d9a8", "#8b7a5e", "#3a3f4a", "#5a3c22", "short")
# A pentatonic phrase; any cut of it sounds finished.
NOTES_HZ = (392.0, 440.0, 523.25, 659.25, 587.33, 523.25, 440.0, 523.25)
NOTE_SECONDS = 0.26


def draw_person() -> Array:
    """The reference image: uint8 RGB [1280, 720, 3], a person from the front before a studio backdrop."""
    width, height = PERSON_SIZE[0] * LARGER, PERSON_SIZE[1] * LARGER
    feet = 0.930
    canvas = Canvas(studio(width, height, feet + 0.004), height * 0.5, (width / 2, height * feet))
    draw_groups(canvas, person(PERSON, Pose(arms=((0.20, 0.10), (0.22, 0.14)), tilt=0.03, hips=0.01)))
    return finish(canvas.colour, PERSON_SIZE)


def driving_pose(seconds: float) -> Pose:
    """The waving and swaying at a moment; it repeats every 2 seconds, and eyes close now and then."""
    sway = np.sin(np.pi * seconds)
    wave = np.sin(2 * np.pi * 1.5 * seconds)
    return Pose(
        hips=0.045 * sway,
        lean=0.050 * sway,
        tilt=-0.07 * sway,
        arms=((0.20 + 0.07 * sway, 0.16 - 0.10 * sway), (1.75 + 0.08 * sway, 2.85 + 0.30 * wave)),
        fans=(0.0, 1.0),
        smile=1.0 + 0.3 * wave,
        blink=float(max(0.0, 1 - abs((seconds + 0.5) % 2.0 - 1.0) / 0.09)),
    )


def draw_driving_frames(num_frames: int = NUM_FRAMES) -> Iterator[Array]:
    """The driving video's frames one by one: uint8 RGB [720, 1280, 3]."""
    width, height = VIDEO_SIZE[0] * LARGER, VIDEO_SIZE[1] * LARGER
    feet = 0.945
    background = room(width, height, feet)
    for index in range(num_frames):
        canvas = Canvas(background.copy(), height * 0.455, (width / 2, height * feet))
        draw_groups(canvas, person(DRIVER, driving_pose(index / FPS)))
        yield finish(canvas.colour, VIDEO_SIZE)


def melody(seconds: float) -> Array:
    """A gentle melody of soft bell tones: float32 stereo [2, samples], -1 to 1."""
    length = round(seconds * SOUND_RATE)
    sound = np.zeros(length + SOUND_RATE)
    for index in range(int(seconds / NOTE_SECONDS) + 1):
        hertz = NOTES_HZ[index % len(NOTES_HZ)]
        time = np.arange(SOUND_RATE) / SOUND_RATE
        tone = np.sin(2 * np.pi * hertz * time) + 0.35 * np.sin(4 * np.pi * hertz * time) * np.exp(-3 * time)
        start = round(index * NOTE_SECONDS * SOUND_RATE)
        part = sound[start : start + SOUND_RATE]
        part += (0.18 * tone * np.minimum(time / 0.012, 1) * np.exp(-4.5 * time))[: len(part)]
    sound = sound[:length] * np.minimum(1, np.arange(length)[::-1] / (0.03 * SOUND_RATE))
    return np.stack([sound, sound]).astype(np.float32)


def write_driving(path: Path, num_frames: int = NUM_FRAMES) -> None:
    """Writes the driving video: H.264 4:2:0 with AAC sound of the same length."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "27", "preset": "slow", "threads": "1"})
        video.width, video.height = VIDEO_SIZE
        video.pix_fmt = "yuv420p"
        video.time_base = Fraction(1, FPS)
        # BT.709, limited range, and said so in the file: without the tags players guess.
        video.color_primaries = video.color_trc = video.colorspace = video.color_range = 1
        audio = container.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        audio.bit_rate = 96_000
        for index, picture in enumerate(draw_driving_frames(num_frames)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            # Not video.time_base: the muxer sets its own as soon as the first packet is written.
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        sound = melody(num_frames / FPS)
        for start in range(0, sound.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, start : start + 1024]), "fltp", "stereo")
            block.sample_rate, block.pts = SOUND_RATE, start
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def write_sample(folder: Path = ASSETS) -> tuple[Path, Path]:
    """Writes both files and returns their paths (person.png, driving.mp4)."""
    folder.mkdir(parents=True, exist_ok=True)
    picture, video = folder / "person.png", folder / "driving.mp4"
    Image.fromarray(draw_person()).save(picture, optimize=True)
    write_driving(video)
    return picture, video


if __name__ == "__main__":
    for written in write_sample(Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS):
        print(f"{written}  {written.stat().st_size / 1000:.0f} kB")
