"""Fitting the driving skeleton to the person of the reference picture, by fact 16: one fit for the whole video."""

import dataclasses
import logging

import numpy as np

from ..errors import MotionError
from .people import SEEN, DWPoses

log = logging.getLogger(__name__)

FITTED = [0, 1, 2, 5, *range(8, 18)]  # all of the body but elbows and wrists


def linear_fit(
    poses: DWPoses, reference: DWPoses, width: int = 0, height: int = 0
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Scale (x, y) and offset (x, y) that bring the driving points, fractions of the video, to the reference person.

    reference: its first frame's surest person is fitted to, on the points seen in it; the driving scores do not count.
    width, height: of the picture to come, in pixels; 0 is the reference picture's. Vertically the fit is the least
    squares over all frames with exactly one person. Horizontally the scale follows from the two aspects and only the
    offset is measured. Where no frame has exactly one person (the published pipeline fails there) the surest of each
    frame counts. Raises MotionError no_person if there is too little to fit to.
    """
    width, height = width or reference.width, height or reference.height
    person = reference.frames[0]
    shown = [i for i in FITTED if person.scores[0, i] > SEEN]
    if not person.found or len(shown) < 2:
        raise MotionError(
            "no_person",
            f"In the reference picture {len(shown)} of the body's 14 points are seen that the driving pose is fitted "
            "to; 2 are the least.",
            "Send a picture in which head, shoulders and hips of one person can be seen.",
        )
    alone = [frame for frame in poses.frames if len(frame) == 1]
    if not alone:
        log.warning("no frame of the driving video shows one person alone: fitting the surest of each frame")
        alone = poses.frames
    driving = np.stack([frame.points[0, shown] for frame in alone])  # [frames, points, 2]
    wanted = np.broadcast_to(person.points[0, shown], driving.shape)
    if np.ptp(driving[..., 1]) == 0:
        raise MotionError(
            "no_person",
            "All points of the driving video lie in one line: nobody can be seen in it.",
            "Send a video in which the whole person is visible.",
        )
    scale_y, offset_y = np.polyfit(driving[..., 1].ravel(), wanted[..., 1].ravel(), 1)
    scale_x = scale_y / (poses.height / poses.width / height * width)
    offset_x = np.mean(wanted[..., 0].ravel() - driving[..., 0].ravel() * scale_x)
    return (float(scale_x), float(scale_y)), (float(offset_x), float(offset_y))


def fit(poses: DWPoses, reference: DWPoses, width: int = 0, height: int = 0) -> DWPoses:
    """Every person, face and hand of the driving video moved by one linear_fit; scores stay as they are.

    The result lives on pictures of width x height. Errors as linear_fit.
    """
    scale, offset = linear_fit(poses, reference, width, height)
    log.info("pose fit: scale %.3f x %.3f, offset %.3f, %.3f of the picture", *scale, *offset)
    if scale[1] <= 0:
        log.warning("the driving pose is turned upside down by the fit: do both show a person upright?")
    frames = [dataclasses.replace(frame, points=frame.points * scale + offset) for frame in poses.frames]
    return DWPoses(frames, width or reference.width, height or reference.height, poses.fps)
