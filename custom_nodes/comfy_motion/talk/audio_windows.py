"""Which moments of the voices each latent frame hears, and MultiTalk's projection of them to audio tokens.

By the rules of MultiTalk's published code: a video frame hears five steps of the voice, itself in the middle. A latent
frame stands for one video frame (the first) or four: of those four, the first brings the half before it and itself,
the last itself and the half after it, the two between them only themselves - eight steps.
"""

from __future__ import annotations

from typing import Any

import torch

from ..errors import MotionError
from .features import VoiceFeatures

AROUND = 5  # steps of the voice around a video frame
GROUP = 4  # video frames in a latent frame
# In a group's 4 x 5 steps, frame after frame: 0-2 of the first, the middle of the two inner, 2-4 of the last.
_OF_GROUP = (0, 1, 2, 7, 12, 17, 18, 19)


def window_positions(start: int, length: int, num_frames: int, mirrored: bool) -> torch.Tensor:
    """The steps that each frame of a window hears: int64 [length, 5], all within the sound's `num_frames`.

    start: the sound's frame that the window shows first. Before the sound its first step stands, past its end the
    last; or, mirrored (the last window of several), the steps come back: p -> 2 num_frames - 1 - p.
    """
    if num_frames < 1 or length < 1:
        raise ValueError(f"a window of {length} frames over a sound of {num_frames} hears nothing")
    positions = torch.arange(start, start + length)[:, None] + torch.arange(AROUND) - AROUND // 2
    if mirrored:
        positions = torch.where(positions < num_frames, positions, 2 * num_frames - 1 - positions)
    return positions.clamp(0, num_frames - 1)


def latent_steps(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """From window_positions [length, 5] to what the latent frames hear: [1, 5] and [(length - 1) / 4, 8].

    Raises ValueError if length is not 4n+1.
    """
    later = len(positions) - 1
    if later % GROUP:
        raise ValueError(f"a window of {len(positions)} frames; it must be a multiple of 4 plus 1")
    return positions[:1], positions[1:].reshape(later // GROUP, GROUP * AROUND)[:, _OF_GROUP]


def audio_tokens(model_patch: Any, features: VoiceFeatures, positions: torch.Tensor) -> torch.Tensor:
    """What the network's audio attention reads: float32 [T, voices * 32, channels] on the patch's load device.

    model_patch: core's MODEL_PATCH with MultiTalk's or InfiniteTalk's weights. positions: of `window_positions`.
    T: latent frames, (length + 3) / 4. The first 32 tokens of a frame are voice 1's, the next 32 voice 2's. In
    float32, as core does it: the weights are cast up. Raises MotionError model_file if the audio encoder is not the
    one that the patch was trained with.
    """
    first, later = latent_steps(positions)
    low, high = int(positions.min()), int(positions.max()) + 1
    voices = []
    for voice in range(features.num_voices):
        heard = features.read(voice, low, high)
        voices.append(_project(model_patch, heard[first - low], heard[later - low]))
    return torch.cat(voices, dim=1)


def silent_tokens(model_patch: Any, features: VoiceFeatures, length: int) -> torch.Tensor:
    """The tokens of no audio, for guidance: zero features of one person, float32 [T, 32, channels].

    features: only their layers and channels are looked at. length: frames of the window, 4n+1.
    """
    first, later = latent_steps(torch.zeros(length, AROUND, dtype=torch.int64))
    nothing = torch.zeros(1, features.layers, features.channels)
    return _project(model_patch, nothing[first], nothing[later])


@torch.no_grad()
def _project(model_patch: Any, first: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
    """first [1, 5, layers, channels] and later [T - 1, 8, layers, channels] to tokens [T, 32, channels]."""
    import comfy.model_management

    projection = model_patch.model.audio_proj
    if (given := first[0].numel()) != (wanted := projection.proj1.in_features):
        layers, channels = first.shape[-2:]
        raise MotionError(
            "model_file",
            f"The audio encoder has {layers} layers of {channels} ({given} numbers a frame); the MultiTalk file wants "
            f"{wanted}.",
            "Choose the encoder that MultiTalk was trained with: wav2vec2-chinese-base, 12 layers of 768.",
        )
    comfy.model_management.load_models_gpu([model_patch])
    device = model_patch.load_device
    return projection(first[None].to(device), later[None].to(device))[0]
