"""The types that flow between our nodes."""

from comfy_api.latest import io

FRAMES = io.Custom("CM_FRAMES")  # video.frames.Frames
MASKS = io.Custom("CM_MASKS")  # video.frames.Masks
SOUND = io.Custom("CM_SOUND")  # video.sound.Sound
POSE = io.Custom("CM_POSE")  # pose.keypoints.Pose
POSE_MODELS = io.Custom("CM_POSE_MODELS")  # pose.models.PoseModels
SAM2 = io.Custom("CM_SAM2")  # segment.model.Sam2
SEGMENTS = io.Custom("CM_SEGMENTS")  # list of segment.image.Segment, one a mask
DWPOSE_MODELS = io.Custom("CM_DWPOSE_MODELS")  # mimicmotion.models.DWPoseModels
DWPOSES = io.Custom("CM_DWPOSES")  # mimicmotion.people.DWPoses
