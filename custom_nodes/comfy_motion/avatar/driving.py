"""The driving videos of a run, checked against one another and read window by window."""

from dataclasses import dataclass

import torch

from ..clips.windows import Window
from ..video.frames import Frames, Masks
from .conditioning import WindowPixels


@dataclass
class DrivingVideos:
    """What drives the person: the drawn pose and the face crops; and, when a person is replaced, the video
    without the person and the masks of where the person was."""

    pose: Frames
    face: Frames
    background: Frames | None = None
    masks: Masks | None = None

    @property
    def num_frames(self) -> int:
        return self.pose.num_frames

    def check(self, width: int, height: int) -> None:
        """Raises ValueError naming the input that does not fit the others or the wanted size."""
        if (self.background is None) != (self.masks is None):
            there, absent = ("masks", "background") if self.background is None else ("background", "masks")
            raise ValueError(
                f"{there} is connected and {absent} is not. Connect both to replace the person in the driving "
                "video, or neither to animate the reference picture's own background."
            )
        for name, video in (("face", self.face), ("background", self.background), ("masks", self.masks)):
            if video is not None and video.num_frames != self.num_frames:
                raise ValueError(
                    f"{name} has {video.num_frames} frames and pose has {self.num_frames}: all must come from the "
                    "same driving video, cut to the same range."
                )
        for name, video in (("pose", self.pose), ("background", self.background), ("masks", self.masks)):
            if video is not None and (video.width, video.height) != (width, height):
                raise ValueError(
                    f"{name} is {video.width}x{video.height} and width x height is {width}x{height}: resample the "
                    "driving video to the size that is generated."
                )

    def window(self, window: Window) -> WindowPixels:
        """The pictures of one window, uint8 on the CPU; nothing outside it is read."""
        return WindowPixels(*(_pick(v, window.frames) for v in (self.pose, self.face, self.background, self.masks)))


def _pick(video: Frames | Masks | None, frames: list[int]) -> torch.Tensor | None:
    """These frames in this order: one read of the range they lie in, as ping-pong stays near a window's end."""
    if video is None:
        return None
    first, last = min(frames), max(frames)
    pictures = video.read(first, last + 1)
    if frames == list(range(first, last + 1)):
        return pictures
    return pictures[[frame - first for frame in frames]]
