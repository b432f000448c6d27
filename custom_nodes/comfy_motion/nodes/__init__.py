"""V3 node classes, one topic a file: schema and a few lines each; the work is in the sibling packages."""

from . import (
    avatar,
    clips,
    mimicmotion,
    mimicmotion_pose,
    pose,
    segment,
    segment_image,
    stride,
    svd,
    talk,
    talk_features,
    talk_loaders,
    talk_speakers,
    talk_voices,
    video,
)

NODES = [
    *video.NODES,
    *stride.NODES,
    *pose.NODES,
    *segment.NODES,
    *segment_image.NODES,
    *clips.NODES,
    *avatar.NODES,
    *svd.NODES,
    *mimicmotion.NODES,
    *mimicmotion_pose.NODES,
    *talk_voices.NODES,
    *talk_features.NODES,
    *talk_loaders.NODES,
    *talk_speakers.NODES,
    *talk.NODES,
]
