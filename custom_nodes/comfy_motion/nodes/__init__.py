"""V3 node classes, one topic a file: schema and a few lines each; the work is in the sibling packages."""

from . import avatar, pose, segment, video

NODES = [*video.NODES, *pose.NODES, *segment.NODES, *avatar.NODES]
