"""Who a token belongs to, and how it listens: MultiTalk's speaker map, positions and audio attention.

The rules are those of MultiTalk's published code. Two things are done otherwise, with equal results:

- The map is a scaled dot product attention with the masks as values, so that no table of tokens times tokens is ever
  in memory (core v0.33.0 builds it in pieces; the published code whole).
- Every function takes a batch; a row of it never sees another. Core and the published code take one example.

One result differs: a mask without a token gives a row of zeros, where the published code divides by zero and makes
the whole picture NaN. Nothing here waits for the GPU.
"""

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

#: Persons 1 and 2 lie at 0..4 and 20..24 by how strongly a token looks at them; everything else lies between them.
RANGE = 4.0
STARTS = (0.0, 20.0)
BACKGROUND = 12.0
#: Each voice speaks from the middle of its person's range.
VOICES = (2.0, 22.0)
BASE = 10000.0
#: Of the published code. A map's values are near 1 / tokens of a frame, so that it can be seen in the result.
TINY = 1e-8


def speaker_map(q: torch.Tensor, k_ref: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """How much each token looks at each speaker in the first frame: the mean over all heads.

    q: [B, L, heads, D] and k_ref: [B, S, heads, D], as self-attention has them after rotary embedding; k_ref are the
    tokens of the first latent frame. rows: [R, S] of 0 and 1. Returns [B, R, L] in float32: the softmax summed over a
    mask and divided by the mask's size.
    """
    batch, tokens, heads, width = k_ref.shape
    count = rows.shape[0]
    # The masks go in as 0 and 1, which are exact in bfloat16, and are divided afterwards in float32. They are padded
    # to the keys' width: flash kernels, on a GPU and on the CPU, take values of no other width, and what takes over
    # when they refuse holds the whole table. Real memory, not a view without strides, for cuDNN's sake.
    values = k_ref.new_zeros(batch, tokens, heads, max(width, count))
    values[..., :count] = rows.T[:, None]
    looks = scaled_dot_product_attention(q.transpose(1, 2), k_ref.transpose(1, 2), values.transpose(1, 2))
    sums = looks[..., :count].mean(1, dtype=torch.float32)
    return (sums / rows.sum(1, dtype=torch.float32).clamp(min=1)).transpose(1, 2)


def positions(looks: torch.Tensor) -> torch.Tensor:
    """The place of each token on the line of speakers, from a map [B, 3, L] of person 1, person 2, background.

    A person's values are scaled by their own smallest and largest over the tokens of one example. The largest of the
    three, unscaled, says whose a token is. Returns [B, L] in float32.
    """
    low, high = looks[:, :2].aminmax(dim=2, keepdim=True)
    first, second = ((looks[:, :2] - low) / (high - low + TINY) * RANGE).unbind(1)
    whose = looks.argmax(1)
    others = torch.where(whose == 1, second + STARTS[1], BACKGROUND)
    return torch.where(whose == 0, first + STARTS[0], others)


def rotation(places: torch.Tensor, width: int) -> torch.Tensor:
    """The rotary embedding of places [B, L] for heads of `width`, as core's apply_rope1 takes it for [B, L, heads, D].

    Returns [B, L, 1, width / 2, 2, 2] in float32; channels 2i and 2i + 1 turn together.
    """
    exponents = torch.arange(0, width, 2, device=places.device, dtype=torch.float32) / width
    angles = places.float().unsqueeze(-1) * (1.0 / BASE**exponents)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((cos, -sin, sin, cos), dim=-1).unflatten(-1, (2, 2)).unsqueeze(2)


def voice_places(tokens: int, device: torch.device) -> torch.Tensor:
    """[1, tokens]: the first half of a frame's audio tokens is voice 1, the second voice 2."""
    second = torch.arange(tokens, device=device) >= tokens // 2
    return torch.where(second, VOICES[1], VOICES[0]).unsqueeze(0)


def audio_attention(
    module: Any, x: torch.Tensor, tokens: torch.Tensor, places: torch.Tensor | None = None
) -> torch.Tensor:
    """What the video hears: each frame's tokens attend to the audio tokens of that frame.

    module: `audio_cross_attn` of a block of the loaded model patch; its layers cast, offload and patch themselves.
    x: [B, T * S, C], normalised. tokens: [T, A, C_audio], the same for every example, in x's type. places: [B, T * S],
    from `positions`, when A holds two voices. Returns [B, T * S, C].
    """
    from comfy.ldm.flux.math import apply_rope1
    from comfy.ldm.modules.attention import optimized_attention

    batch, _, width = x.shape
    frames, heads = tokens.shape[0], module.num_heads
    head_width = width // heads
    q = module.q_linear(x)
    k, v = module.kv_linear(tokens).chunk(2, dim=-1)
    if places is not None:
        voices = rotation(voice_places(tokens.shape[1], x.device), head_width)
        q = apply_rope1(q.unflatten(-1, (heads, head_width)), rotation(places, head_width))
        k = apply_rope1(k.unflatten(-1, (heads, head_width)).contiguous(), voices).flatten(2)
    q = q.reshape(batch * frames, -1, width)
    if batch > 1:
        k, v = k.repeat(batch, 1, 1), v.repeat(batch, 1, 1)
    # As core's attention to the picture: so few keys gain nothing from low precision, and SageAttention makes NaN.
    heard = optimized_attention(q, k, v, heads=heads, low_precision_attention=False)
    return module.proj(heard.reshape(batch, -1, width))
