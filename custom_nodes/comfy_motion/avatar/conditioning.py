"""What Wan-Animate sees of one window: the authors' input, or core's, difference by difference.

Core's WanAnimateToVideo (v0.33.0) prepares the input otherwise than the authors' published code (Wan-Video/
Wan2.2, wan/animate.py) in five ways. Each is a field of `Rules`; `CORE` has them all core's way and then gives
core's tensors exactly (tests/engine/test_avatar_fidelity.py).

Masks here are 1 where the model must generate and 0 where the picture is given, as in core's `concat_mask`
(the model itself is fed one minus that). What is not given is grey (0.5, zero for the VAE): in animate mode,
without a background, that is every frame that continues nothing, and the authors do the same.
"""

from dataclasses import dataclass
from typing import Any

import torch

from ..clips.windows import latents_of, ping_pong
from .letterbox import FITS, letterbox

FACE_SIZE = 512


@dataclass(frozen=True)
class Rules:
    """The five differences; the defaults are the authors' side."""

    mask_frame0_four_times: bool = True  # entry j holds frame j-3; core: frame j, and the last three "unknown"
    overlap_stays_known: bool = True  # core: the mask overwrites the last three entries of the overlap
    mask_top_left: bool = True  # pixel 8i of the mask; core: pixel 8i+4 (nearest-exact)
    ping_pong: bool = True  # past the end; core: last pose repeated, background grey, face without motion
    reference_fit: str = "letterbox"  # one of letterbox.FITS; core: "crop"

    def __post_init__(self):
        if self.reference_fit not in FITS:
            raise ValueError(f"reference_fit is {self.reference_fit!r}; it must be one of {', '.join(FITS)}")


AUTHORS = Rules()
CORE = Rules(False, False, False, False, "crop")


@dataclass
class WindowPixels:
    """The driving pictures from the window's first frame on; uint8, or float 0..1.

    pose, background [t, h, w, 3], face [t, h, w, 3], mask [t, h, w] with 1 = generate, continue_motion [k, h, w, 3]:
    the k frames made already, k = 4n+1. t may be less than the window's length (core's way past the end).
    """

    pose: torch.Tensor | None = None
    face: torch.Tensor | None = None
    background: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    continue_motion: torch.Tensor | None = None


@dataclass
class WindowInput:
    """One window, ready to be sampled."""

    positive: list
    negative: list
    latent: torch.Tensor  # zeros [batch, 16, reference latents + window latents, height/8, width/8]
    trim_latent: int  # latents of the reference, in front
    trim_image: int  # frames of the overlap, in front of the decoded window


def slice_video(video: torch.Tensor | None, start: int, length: int, turn_round: bool) -> torch.Tensor | None:
    """`length` frames from `start`, by ping-pong past the end; else what is left, None if that is nothing."""
    if video is None or start + length <= video.shape[0]:
        return None if video is None else video[start : start + length]
    if turn_round:
        return video[ping_pong(range(start, start + length), video.shape[0])]
    return video[start:] if start < video.shape[0] else None


def encode_reference(vae: Any, image: torch.Tensor | None, width: int, height: int, fit: str) -> torch.Tensor:
    """The reference picture [n, h, w, 3] as latents [1, 16, (n-1)//4+1, height/8, width/8]; None is black."""
    if image is None:
        image = torch.zeros((1, height, width, 3))
    fitted = _crop(image[..., :3], width, height) if fit == "crop" else letterbox(image, width, height)
    return vae.encode(fitted)


def mask_entries(mask: torch.Tensor | None, length: int, known: int, rows: int, columns: int, rules: Rules):
    """The mask of a window as the model takes it: four entries a latent frame, float32 [latents * 4, rows, columns].

    `known` latents of the overlap are 0. The VAE packs frame 0 alone, so the authors write it four times and
    the entries then run with the frames they belong to; core writes frame j into entry j.
    """
    latents = latents_of(length)
    entries = torch.ones((latents * 4, rows, columns), device=None if mask is None else mask.device)
    entries[: known * 4] = 0.0
    if mask is None:
        return entries
    small = _scale(mask[:length].unsqueeze(1), columns, rows, "nearest" if rules.mask_top_left else "nearest-exact")
    small = small.squeeze(1).to(entries.dtype)
    first = known * 4 if rules.overlap_stays_known else max(0, known * 4 - 3)
    for entry in range(first, latents * 4):
        frame = max(0, entry - 3) if rules.mask_frame0_four_times else entry
        if frame < small.shape[0]:
            entries[entry] = small[frame]
    return entries


def known_frames(pixels: WindowPixels, length: int, width: int, height: int, device: Any) -> torch.Tensor:
    """The picture the mask belongs to, float [length, height, width, 3]: overlap, then background, else grey."""
    image = torch.full((length, height, width, 3), 0.5, device=device)
    done = 0
    if pixels.continue_motion is not None:
        overlap = _crop(_as_float(pixels.continue_motion, device), width, height)[-length:]
        image[: overlap.shape[0]] = overlap
        done = (overlap.shape[0] - 1) // 4 * 4 + 1
    if pixels.background is not None and pixels.background.shape[0] > done:
        background = _crop(_as_float(pixels.background[done:length], device), width, height)
        image[done : done + background.shape[0]] = background
    return image


def condition_window(
    positive: list,
    negative: list,
    vae: Any,
    reference_latent: torch.Tensor,
    pixels: WindowPixels,
    *,
    width: int,
    height: int,
    length: int,
    clip_vision_output: Any = None,
    rules: Rules = AUTHORS,
    batch_size: int = 1,
    device: Any = "cpu",
) -> WindowInput:
    """Everything Wan-Animate needs for one window, as core's node hands it to the model.

    `device` is where pictures become floats (uint8 crosses the bus); the VAE takes them from there.
    Both conditionings get `concat_latent_image` and `concat_mask`, and where given `clip_vision_output`,
    `pose_video_latent`, `face_video_pixels` [1, 3, t, 512, 512] in -1..1 (all -1 in the negative one).
    """
    import comfy.model_management

    shared: dict[str, Any] = {}
    if clip_vision_output is not None:
        shared["clip_vision_output"] = clip_vision_output
    if pixels.pose is not None:
        pose = _crop(_as_float(pixels.pose[:length], device), width, height)
        if pose.shape[0] < length:
            pose = torch.cat([pose, pose[-1:].expand(length - pose.shape[0], -1, -1, -1)])
        shared["pose_video_latent"] = vae.encode(pose)
        del pose
    shared["concat_latent_image"] = torch.cat(
        [reference_latent, vae.encode(known_frames(pixels, length, width, height, device))], dim=2
    )
    known = 0 if pixels.continue_motion is None else latents_of(min(pixels.continue_motion.shape[0], length))
    rows, columns = reference_latent.shape[-2:]
    entries = mask_entries(pixels.mask, length, known, rows, columns, rules).to(reference_latent)
    window_mask = entries.view(1, -1, 4, rows, columns).transpose(1, 2)
    reference_mask = torch.zeros((1, 4, *reference_latent.shape[2:])).to(window_mask)
    shared["concat_mask"] = torch.cat([reference_mask, window_mask], dim=2)

    own_positive, own_negative = {}, {}
    if pixels.face is not None:
        face = _crop(_as_float(pixels.face[:length], device), FACE_SIZE, FACE_SIZE).movedim(-1, 0).unsqueeze(0)
        own_positive["face_video_pixels"] = face * 2.0 - 1.0
        own_negative["face_video_pixels"] = torch.full_like(face, -1.0)
    trim_latent = reference_latent.shape[2]
    latent = torch.zeros(
        [batch_size, 16, latents_of(length) + trim_latent, height // 8, width // 8],
        device=comfy.model_management.intermediate_device(),
    )
    return WindowInput(
        _with_values(positive, shared | own_positive),
        _with_values(negative, shared | own_negative),
        latent,
        trim_latent,
        max(0, known * 4 - 3),
    )


def _with_values(conditioning: list, values: dict[str, Any]) -> list:
    """A CONDITIONING with `values` in each entry's options; the one given is not changed."""
    return [[tensor, options | values] for tensor, options in conditioning]


def _as_float(images: torch.Tensor, device: Any) -> torch.Tensor:
    """uint8 0..255 or float 0..1, [..., 3 or 4 channels], to float 0..1 RGB on `device`."""
    images = images[..., :3].to(device)
    return images.to(torch.float32).div_(255.0) if images.dtype == torch.uint8 else images


def _crop(images: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """[n, h, w, c] to [n, height, width, c]: centre-cropped to the shape, then averaged (core's "area", "center")."""
    if images.shape[1:3] == (height, width):
        return images
    return _scale(images.movedim(-1, 1), width, height, "area").movedim(1, -1)


def _scale(images: torch.Tensor, width: int, height: int, method: str) -> torch.Tensor:
    import comfy.utils

    return comfy.utils.common_upscale(images, width, height, method, "center")
