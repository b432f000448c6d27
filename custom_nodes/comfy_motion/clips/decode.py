"""Latents to frames on disk: video VAEs as core decodes them, SVD's temporal decoder in chunks that are ours.

SVD's decoder (core: temporal_ae.VideoDecoder) convolves over time, [3, 1, 1] with zeros beyond the ends, in every
block, and takes the frames of one call for the whole video. So a frame depends on which frames are decoded with it:
at a chunk's edge it sees nothing where its neighbour should be. diffusers' `decode_chunk_size` is the same, by
default all frames at once. Core's VAE.decode asks for the memory of ONE frame and takes as many at a time as then
happen to fit, beside whatever models are still loaded: 25 frames may become 8, 8, 8 and a last one all alone, which
comes out different, and on running out of memory it goes over to small tiles of one picture. Here room is made for
all frames first; when they do not fit, the chunks are of nearly one size; a chunk that runs out of memory is halved.
"""

import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import torch

from ..errors import MotionError
from ..scratch import scratch_folder
from ..video.frames import Frames, to_uint8
from ..video.segments import SegmentWriter

log = logging.getLogger(__name__)

Report = Callable[[int, int], None]
_PIECE = 16  # frames turned to 8 bits at a time
_OF_DEVICE = 0.8  # most of the device's memory to ask for: the VAE's own weights must fit beside it


def decode_window(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """All pictures of one window in memory: float [t, h, w, 3] in 0..1, of a video VAE's latents [1, 16, t, h, w]."""
    images = vae.decode(latents)
    return images.reshape(-1, *images.shape[-3:])


def decode(vae: Any, samples: dict[str, Any], fps: Fraction, chunk: int, report: Report) -> Frames:
    """The latent's pictures as frames in the prompt's scratch folder.

    vae: ComfyUI's VAE. samples: LATENT, [n, 4, h, w] for SVD, [1, 16, t, h, w] for Wan. chunk: frames decoded at
    once by a temporal decoder (0 = as many as fit); a video VAE has a scheme of its own and takes no notice of it.
    report(frames done, all frames) comes between chunks; what it raises stops the work.
    Raises MotionError invalid_value when the latent is not of pictures.
    """
    latents = samples["samples"]
    if latents.is_nested:
        latents = latents.unbind()[0]  # picture before sound, as core's VAEDecode has it
    if latents.ndim == 4 and vae.latent_dim == 2:
        return _written(_in_chunks(vae, latents, chunk), len(latents), fps, report)
    images = vae.decode(latents)
    if images.ndim < 4 or images.shape[-1] < 3:
        raise MotionError(
            "invalid_value",
            f"The latent {list(latents.shape)} decodes to {list(images.shape)}, which are no pictures.",
            "Connect the latent of a sampler and the VAE of its model.",
        )
    images = images.reshape(-1, *images.shape[-3:])
    return _written(images.split(_PIECE), len(images), fps, report)


def first_chunk(frames: int, asked: int, fits: int) -> int:
    """How many of `frames` to decode at once: as asked, else all, else nearly equal parts of at most `fits`."""
    if asked > 0:
        return min(asked, frames)
    parts = -(-frames // max(1, min(fits, frames)))
    return -(-frames // parts)


def halving(
    decode_some: Callable[[torch.Tensor], torch.Tensor],
    latents: torch.Tensor,
    chunk: int,
    out_of_memory: Callable[[Exception], bool],
    last_resort: Callable[[torch.Tensor], torch.Tensor],
) -> Iterator[torch.Tensor]:
    """decode_some(latents), `chunk` at a time; half as many from where memory ran out on, and last_resort for one."""
    start = 0
    while start < len(latents):
        some, pictures = latents[start : start + chunk], None
        try:
            pictures = decode_some(some)
        except Exception as error:
            if not out_of_memory(error):
                raise
        # Outside `except`: until then the error holds on to everything that filled the memory.
        if pictures is None and len(some) > 1:
            chunk = -(-len(some) // 2)
            log.warning("Out of memory decoding %d frames at once; trying %d.", len(some), chunk)
            continue
        if pictures is None:
            log.warning("Out of memory decoding one frame; leaving it to ComfyUI's tiles.")
            pictures = last_resort(some)
        start += len(some)
        yield pictures
        del pictures


def _in_chunks(vae: Any, latents: torch.Tensor, asked: int) -> Iterator[torch.Tensor]:
    """Float pictures [n, h, w, 3] chunk by chunk, each computed as core's VAE.decode computes a batch."""
    from comfy import model_management as memory

    vae.throw_exception_if_invalid()
    one_frame = vae.memory_used_decode(latents.shape, vae.vae_dtype)
    wanted = min(one_frame * min(asked or len(latents), len(latents)), memory.get_total_memory(vae.device) * _OF_DEVICE)

    def out_of_memory(error: Exception) -> bool:
        if not memory.is_oom(error):
            return False
        memory.soft_empty_cache()
        return True

    def decode_some(some: torch.Tensor) -> torch.Tensor:
        with memory.cuda_device_context(vae.device):
            out = vae.first_stage_model.decode(some.to(device=vae.device, dtype=vae.vae_dtype))
            out = out.to(device=vae.output_device, dtype=vae.vae_output_dtype(), copy=True)
        return vae.process_output(out).movedim(1, -1)

    memory.load_models_gpu([vae.patcher], memory_required=wanted, force_full_load=vae.disable_offload)
    chunk = first_chunk(len(latents), asked, int(vae.patcher.get_free_memory(vae.device) / one_frame))
    return halving(decode_some, latents, chunk, out_of_memory, vae.decode)


def _written(pictures: Any, total: int, fps: Fraction, report: Report) -> Frames:
    """Pieces of float pictures [n, h, w, 3], put on disk in 8 bits as they come."""
    writer: SegmentWriter | None = None
    report(0, total)
    for piece in pictures:
        if writer is None:
            writer = SegmentWriter(piece.shape[2], piece.shape[1], fps, scratch_folder("decoded"))
        for start in range(0, len(piece), _PIECE):
            writer.append(to_uint8(piece[start : start + _PIECE]))
        report(writer.num_frames, total)
    if writer is None:
        raise MotionError("invalid_value", "The latent has no frames.", "Connect the latent of a sampler.")
    return writer.frames()
