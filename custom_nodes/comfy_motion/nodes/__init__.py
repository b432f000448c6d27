"""V3 node classes, one topic a file: schema and a few lines each; the work is in the sibling packages."""

from . import avatar, clips, mimicmotion, mimicmotion_pose, pose, segment, segment_image, stride, svd, video

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
]
