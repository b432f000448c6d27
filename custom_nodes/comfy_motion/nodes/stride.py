"""Every n-th frame of a video, and frames at another rate: nodes over `video/stride.py` and `video/retime.py`."""

from comfy_api.latest import Input, io

from ..video.frames import Frames
from ..video.retime import RetimedFrames
from ..video.sound import find_sound
from ..video.stride import SampledFrames
from ..video.timeline import exact_rate, seconds
from .types import FRAMES, SOUND
from .video import CATEGORY, file_of, range_inputs


class CMSampleStride(io.ComfyNode):
    """Every n-th frame of a range of a video, read lazily."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMSampleStride",
            display_name="Sample Frames",
            category=CATEGORY,
            description="Takes every n-th frame of a video as it is, at its own size. Frames are counted as the file "
            "has them; where they come at unequal distances they are taken by time, n average frames apart. "
            "Nothing is decoded until it is needed.",
            inputs=[
                io.Video.Input("video", tooltip="The video. Rotation flags are honoured."),
                io.Int.Input(
                    "sample_stride",
                    default=2,
                    min=1,
                    max=100,
                    tooltip="1 takes every frame, 2 every other one; it is never multiplied, whatever the rate is.",
                ),
                *range_inputs(),
                io.Int.Input(
                    "max_frames",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    tooltip="No more than these many sampled frames: the range ends where they end. 0 is all of it.",
                ),
            ],
            outputs=[
                FRAMES.Output(display_name="frames"),
                SOUND.Output(display_name="sound", tooltip="The range's sound; nothing when the video has none."),
                io.Int.Output(display_name="num_frames"),
                io.Float.Output(display_name="fps", tooltip="The video's frames a second / sample_stride."),
                io.Float.Output(display_name="length", tooltip="Seconds of the range, for Retime."),
            ],
        )

    @classmethod
    def execute(
        cls, video: Input.Video, sample_stride: int, start_time: float, end_time: float, max_frames: int
    ) -> io.NodeOutput:
        trim_start, trim_length = (seconds(value) for value in video.get_active_trim_window())
        frames = SampledFrames(
            file_of(video),
            sample_stride,
            seconds(start_time),
            seconds(end_time) if end_time else None,
            max_frames,
            trim_start,
            trim_length or None,
        )
        sound = find_sound(frames.path, *frames.source_range)
        return io.NodeOutput(frames, sound, frames.num_frames, float(frames.fps), float(frames.length))


class CMRetime(io.ComfyNode):
    """Frames at another rate."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CMRetime",
            display_name="Retime",
            category=CATEGORY,
            description="Shows frames at another rate without changing their speed: each frame of the result is the "
            "one that was to be seen at its time. So the written video stays in time with its sound.",
            inputs=[
                FRAMES.Input("frames", tooltip="The frames, with the rate they have."),
                io.Float.Input("fps", default=15.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second wanted."),
                io.Float.Input(
                    "length",
                    default=0.0,
                    min=0.0,
                    max=1e5,
                    step=0.001,
                    tooltip="Seconds of the result, to the nearest frame; 0 is as long as the frames are. Sample "
                    "Frames gives the length of its range, which every n-th frame can pass by a little.",
                ),
            ],
            outputs=[FRAMES.Output(display_name="frames"), io.Int.Output(display_name="num_frames")],
        )

    @classmethod
    def execute(cls, frames: Frames, fps: float, length: float) -> io.NodeOutput:
        retimed = RetimedFrames(frames, exact_rate(fps), seconds(length) if length else None)
        return io.NodeOutput(retimed, retimed.num_frames)


NODES: list[type[io.ComfyNode]] = [CMSampleStride, CMRetime]
"""Each node's id is its class's name."""
