"""Video in, pictures out, and back: nodes over `video/`."""

import shutil
from pathlib import Path

from comfy_api.latest import Input, InputImpl, io, ui

from ..scratch import scratch_folder
from ..video.fit import FITS
from ..video.frames import Frames
from ..video.reader import VideoFrames
from ..video.sound import Sound, find_sound
from ..video.timeline import exact_rate, seconds
from ..video.writer import DEFAULT_CRF, DEFAULT_PRESET, PRESETS, write_mp4
from . import convert
from .metadata import metadata
from .progress import progress
from .types import FRAMES, SOUND

CATEGORY = "comfy-motion/video"


def range_inputs() -> list[io.Input]:
    """Which part of a video, in seconds."""
    limits = {"default": 0.0, "min": 0.0, "max": 1e5, "step": 0.001}
    return [
        io.Float.Input("start_time", **limits, tooltip="Start of the range in seconds."),
        io.Float.Input("end_time", **limits, tooltip="End of the range in seconds; 0 is the end of the video."),
    ]


class CMResampleVideo(io.ComfyNode):
    """A range of a video at an exact rate and size, read lazily."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMResampleVideo",
            display_name="Resample Video",
            category=CATEGORY,
            description="Cuts a video to a range, resamples it exactly to a frame rate and fits it to a size without "
            "distortion. Nothing is decoded until it is needed.",
            inputs=[
                io.Video.Input("video", tooltip="The video. Variable frame rates and rotation flags are honoured."),
                io.Float.Input("fps", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second wanted."),
                io.Int.Input("width", default=1280, min=16, max=8192, step=16, tooltip="Width in pixels."),
                io.Int.Input("height", default=720, min=16, max=8192, step=16, tooltip="Height in pixels."),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default=FITS[0],
                    tooltip="pad: the whole picture between black bars. crop: no bars, what stands over is cut off.",
                ),
                *range_inputs(),
            ],
            outputs=[
                FRAMES.Output(display_name="frames"),
                SOUND.Output(display_name="sound", tooltip="The range's sound; nothing when the video has none."),
                io.Int.Output(display_name="num_frames"),
                io.Float.Output(display_name="fps"),
            ],
        )

    @classmethod
    def execute(
        cls,
        video: Input.Video,
        fps: float,
        width: int,
        height: int,
        fit: str,
        start_time: float,
        end_time: float,
    ) -> io.NodeOutput:
        trim_start, trim_length = (seconds(value) for value in video.get_active_trim_window())
        frames = VideoFrames(
            file_of(video),
            width,
            height,
            exact_rate(fps),
            fit,
            seconds(start_time),
            seconds(end_time) if end_time else None,
            trim_start,
            trim_length or None,
        )
        sound = find_sound(frames.path, *frames.source_range)
        return io.NodeOutput(frames, sound, frames.num_frames, float(frames.fps))


class CMSaveVideo(io.ComfyNode):
    """Lazy frames and their sound to an MP4 in the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMSaveVideo",
            display_name="Save MP4",
            category=CATEGORY,
            description="Writes frames to an H.264 MP4 as they are computed; nothing holds the whole video. "
            "The sound is copied as it is where it fits, and encoded anew where it does not.",
            inputs=[
                FRAMES.Input("frames", tooltip="The frames to write."),
                SOUND.Input("sound", optional=True, tooltip="The sound, cut to the length of the frames."),
                io.String.Input(
                    "filename_prefix", default="video/comfy-motion", tooltip="Folder and start of the name."
                ),
                io.Float.Input(
                    "crf",
                    default=DEFAULT_CRF,
                    min=0.0,
                    max=51.0,
                    step=0.5,
                    tooltip="H.264 quality: lower is better and larger, 0 is lossless, 17 looks like the source.",
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=DEFAULT_PRESET,
                    tooltip="Slower presets make smaller files of the same quality.",
                ),
            ],
            outputs=[io.Video.Output(display_name="video")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        frames: Frames,
        filename_prefix: str,
        crf: float,
        preset: str,
        sound: Sound | None = None,
    ) -> io.NodeOutput:
        import folder_paths

        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), frames.width, frames.height
        )
        path = Path(folder) / f"{name}_{counter:05}_.mp4"
        write_mp4(path, frames, sound, crf, preset, progress(), metadata(cls.hidden))
        saved = ui.SavedResult(path.name, subfolder, io.FolderType.output)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)), ui=ui.PreviewVideo([saved]))


def file_of(video: Input.Video) -> str:
    """The video as a file: its own, or a copy in the scratch folder when it exists in memory only."""
    source = video.get_stream_source()
    if isinstance(source, str):
        return source
    path = scratch_folder("source") / "video"
    source.seek(0)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)
    return str(path)


NODES: list[type[io.ComfyNode]] = [
    CMResampleVideo,
    *convert.NODES,
    CMSaveVideo,
]
