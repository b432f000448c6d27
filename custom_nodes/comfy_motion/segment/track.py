"""The person of a pose through a whole video, by the rules of the Wan2.2 Animate authors.

Source: their published preprocessing (get_mask): prompts from eight body points on every len // 4-th frame of a
segment of 400, each segment tracked on its own.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MotionError
from ..pose.keypoints import Pose, body
from ..video.frames import Frames, Masks
from .disk import MaskWriter

if TYPE_CHECKING:
    from .model import Sam2
    from .session import Prompts

SEGMENT = 400
# Of the body of 20: nose, neck, R shoulder, L shoulder, R hip, L hip, R ankle, L ankle.
PROMPT_POINTS = [0, 1, 2, 5, 8, 11, 10, 13]


def segments(num_frames: int, length: int = SEGMENT) -> list[range]:
    """The frames cut into runs of `length`, the last one shorter."""
    return [range(start, min(start + length, num_frames)) for start in range(0, num_frames, length)]


def key_frames(length: int) -> list[int]:
    """The prompted frames of a segment: every length // 4-th, which makes 4 to 7, or the first of up to four."""
    return list(range(0, length, length // 4)) if length > 4 else [0]


def prompts_of(points: np.ndarray, segment: range) -> "Prompts":
    """Foreground points by key frame, counted from the segment's start: whole pixels, whatever their score.

    `points`: the body of 20 in pixels, float [F, 20, 2].
    """
    chosen = points[:, PROMPT_POINTS].astype(np.int32)
    return {index: chosen[segment[index]].tolist() for index in key_frames(len(segment))}


def track_person(
    frames: Frames,
    pose: Pose,
    sam2: "Sam2",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    segment: int = SEGMENT,
) -> Masks:
    """The mask of the pose's person in every frame, at the frames' own size, kept on disk.

    What is held in memory does not grow with the length: frames are read one by one, masks are written as they come,
    and the tracker forgets what it cannot use any more. `on_progress(done, total)` is called once a frame and may
    raise to stop. A person who leaves has empty masks from then on. Raises MotionError empty_mask when no frame has
    any, ValueError when the pose is not that of these frames.
    """
    from .session import track_segment

    _check_same_video(frames, pose)
    points, _ = body(pose)
    done = 0

    def encoded() -> None:
        nonlocal done
        done += 1
        on_progress(done, frames.num_frames)

    with MaskWriter(frames.width, frames.height, frames.fps) as writer:
        for part in segments(frames.num_frames, segment):
            prompts = prompts_of(points, part)
            track_segment(frames, part.start, part.stop, prompts, sam2, writer.write, encoded)
        if not writer.any_seen:
            raise MotionError(
                "empty_mask",
                f"SAM2 ({sam2.name}) found no person in any of the {frames.num_frames} frames.",
                "Check that the driving video shows the person clearly and that the pose was found on it.",
            )
    return writer.masks()


def _check_same_video(frames: Frames, pose: Pose) -> None:
    seen = (pose.num_frames, pose.width, pose.height)
    wanted = (frames.num_frames, frames.width, frames.height)
    if seen != wanted or pose.retargeted:
        kind = "a retargeted pose" if pose.retargeted else "a pose"
        raise ValueError(
            "The person is tracked by the pose found on the same frames: got {} of {} frames at {}x{} "
            "for {} frames at {}x{}. Connect the output of Detect pose.".format(kind, *seen, *wanted)
        )
