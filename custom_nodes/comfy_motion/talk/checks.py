"""What a run is refused for before any model is loaded."""

from typing import Any

import torch

from ..errors import MotionError
from .fit_picture import GRID
from .load import TalkModel
from .voices import FPS

SHORTEST, LONGEST = 5, 201  # frames of a window; the model was trained on 81 and is published for up to 201


def whole_window(num_frames: int) -> int:
    """The largest 4n+1 that is at most `num_frames`."""
    return (num_frames - 1) // 4 * 4 + 1


def check_windows(total: int, num_frames: int, motion_frames: int) -> None:
    """total: frames of the voices. Raises MotionError invalid_value, voice_too_short."""
    if not SHORTEST <= num_frames <= LONGEST or num_frames % 4 != 1:
        near = min(max(whole_window(num_frames), SHORTEST), LONGEST)
        raise MotionError(
            "invalid_value",
            f"num_frames is {num_frames}; a window has 4n+1 frames, {SHORTEST} to {LONGEST}.",
            f"Use {near}.",
        )
    if total < num_frames:
        raise MotionError(
            "voice_too_short",
            f"The voices are {total / FPS:.2f} seconds long, {total} frames at {FPS} a second; a window has "
            f"{num_frames} frames, {num_frames / FPS:.2f} seconds.",
            f"Set num_frames to {whole_window(total)} or less, or use a longer recording."
            if total >= SHORTEST
            else f"Use a recording of at least {SHORTEST / FPS:.2f} seconds.",
        )
    if motion_frames < 1 or motion_frames % 4 != 1:
        raise MotionError("invalid_value", f"motion_frames is {motion_frames}; it must be 4n+1.", "Use 9.")
    if total > num_frames and motion_frames >= num_frames:
        raise MotionError(
            "invalid_value",
            f"motion_frames is {motion_frames} and num_frames {num_frames}: a window would add no frame.",
            f"Set motion_frames to {max(1, num_frames - 4)} or less.",
        )


def check_people(image: torch.Tensor, voices: Any, speakers: Any) -> None:
    """image: IMAGE, fitted; voices: Voices; speakers: Speakers of that picture. Raises MotionError invalid_value."""
    height, width = image.shape[1:3]
    if width % GRID or height % GRID or not len(image):
        raise MotionError(
            "invalid_value",
            f"The picture is {width}x{height} pixels; both sides must be multiples of {GRID}.",
            "Connect the picture of Fit Picture.",
        )
    if tuple(speakers.rows.shape[1:]) != (height, width):
        raise MotionError(
            "invalid_value",
            f"The speakers were found in a picture of {speakers.rows.shape[2]}x{speakers.rows.shape[1]} pixels; this "
            f"one is {width}x{height}.",
            "Connect the same fitted picture to Who Speaks and to Talk in Windows.",
        )
    if speakers.num_speakers != voices.num_voices:
        raise MotionError(
            "invalid_value",
            f"There are {voices.num_voices} voices and {speakers.num_speakers} speakers.",
            "Connect the same prepared voices to Who Speaks and to Talk in Windows.",
        )


def check_model(kind: TalkModel, voices: Any) -> None:
    """Raises MotionError model_file where the weights are for fewer voices."""
    if voices.num_voices > kind.max_voices:
        raise MotionError(
            "model_file",
            f"{kind.name} is InfiniteTalk's file for one voice, and there are {voices.num_voices}.",
            "Load InfiniteTalk's multi file or multitalk.safetensors, or leave the second voice away.",
        )


def check_features(features: Any, voices: Any) -> None:
    """Raises MotionError invalid_value where the features are of other voices."""
    heard = features.num_voices, features.num_frames
    if heard != (voices.num_voices, voices.num_frames):
        raise MotionError(
            "invalid_value",
            f"The voice features are of {heard[0]} voices and {heard[1]} frames, the voices themselves "
            f"{voices.num_voices} and {voices.num_frames} frames.",
            "Connect the same prepared voices to Encode Voices and to Talk in Windows.",
        )
