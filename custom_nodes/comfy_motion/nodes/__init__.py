"""V3 node classes, one topic a file: schema and a few lines each; the work is in the sibling packages."""

from . import avatar, clips, pose, segment, segment_image, svd, video

NODES = [*video.NODES, *pose.NODES, *segment.NODES, *segment_image.NODES, *clips.NODES, *avatar.NODES, *svd.NODES]
