"""Core's wav2vec2 network in MultiTalk's order and in pieces: memory grows with a sound by three rows a frame only.

MultiTalk's published code brings the convolutions' features (about 49.9 a second) to the video's 25 a second first and
runs projection and transformer on those; core's node lets the transformer hear 49.9 a second and interpolates after
it, which gives other numbers altogether. Here core's own modules are driven in the published order.

Each piece computes what the whole would:
- a convolution's output needs the samples under it and no others (the base encoder's GroupNorm, whose mean and
  variance are over all time, is counted in a pass of its own);
- everything in a transformer layer but its keys and values belongs to one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

PIECE = 128  # features convolved at a time: 2.6 s; the widest tensor in between is 17 MB
ROWS = 512  # rows of a layer at a time: 6 MB in the base encoder's feed forward
SCORES = 2**22  # attention weights at a time (16 MB), where core's attention is one that writes them out

Pause = Callable[[], None]  # called between pieces: raises when the user has asked for an end


def geometry(convolutions: Any) -> tuple[int, int]:
    """Samples from one feature to the next, and samples under each: 320 and 400 in the published networks."""
    stride, width = 1, 1
    for layer in convolutions:
        width += (layer.conv.kernel_size[0] - 1) * stride
        stride *= layer.conv.stride[0]
    return stride, width


def level(speech: np.ndarray) -> tuple[float, float]:
    """Mean and 1 / deviation that bring a voice [n] to mean 0 and variance 1, as Wav2Vec2FeatureExtractor does.

    Its variance is over n, core's over n - 1; its floor of 1e-7 keeps silence silent.
    """
    mean = float(speech.mean(dtype=np.float64))
    pieces = (speech[start : start + 2**20] for start in range(0, len(speech), 2**20))
    variance = sum(float(np.square(piece - mean, dtype=np.float64).sum()) for piece in pieces) / len(speech)
    return mean, (variance + 1e-7) ** -0.5


class Samples:
    """A voice, float32 [n] in memory of the CPU, handed out by range as the network takes it: [1, 1, length]."""

    def __init__(self, speech: np.ndarray, normalize: bool, device: torch.device):
        self._speech, self._device = speech, device
        self._mean, self._scale = level(speech) if normalize else (0.0, 1.0)

    def __len__(self) -> int:
        return len(self._speech)

    def read(self, start: int, stop: int) -> torch.Tensor:
        piece = torch.from_numpy(np.ascontiguousarray(self._speech[start:stop], dtype=np.float32))
        return ((piece.to(self._device) - self._mean) * self._scale)[None, None]


@dataclass
class Moments:
    """Mean and population variance of each channel over all time, joined piece by piece in float64 on the CPU."""

    count: int = 0
    mean: torch.Tensor | float = 0.0
    variance: torch.Tensor | float = 0.0

    def add(self, values: torch.Tensor) -> None:
        """values: [1, channels, n]."""
        variance, mean = (t.double().cpu() for t in torch.var_mean(values[0], dim=1, correction=0))
        new = values.shape[2] / (self.count + values.shape[2])
        apart = mean - self.mean
        self.variance = self.variance * (1 - new) + variance * new + apart.square() * (new * (1 - new))
        self.mean = self.mean + apart * new
        self.count += values.shape[2]

    def normalize(self, norm: Any, values: torch.Tensor) -> torch.Tensor:
        """What a GroupNorm of one channel a group gives for `values` [1, channels, n], a part of all time."""
        from comfy.ops import CastBiasWeightContext

        mean = torch.as_tensor(self.mean).to(values)
        scale = (torch.as_tensor(self.variance) + norm.eps).rsqrt().to(values)
        with CastBiasWeightContext(norm, values, offloadable=True) as (weight, bias):
            scale = scale * weight
            return values * scale[:, None] + (bias - mean * scale)[:, None]

    def first(self, layer: Any, x: torch.Tensor) -> torch.Tensor:
        """The first convolution, its norm over all time, and its activation: of samples [1, 1, n]."""
        return F.gelu(self.normalize(layer.layer_norm, layer.conv(x)))


def _moments(layer: Any, samples: Samples, pause: Pause) -> Moments | None:
    """Of the first convolution's output, if its norm is over all time (base); None for one within a step (large)."""
    if not isinstance(layer.layer_norm, torch.nn.GroupNorm):
        return None
    stride, width = geometry([layer])
    total, piece, moments = (len(samples) - width) // stride + 1, PIECE * 64, Moments()
    for start in range(0, total, piece):
        pause()
        stop = min(start + piece, total)
        moments.add(layer.conv(samples.read(start * stride, (stop - 1) * stride + width)))
    return moments


def convolve(network: Any, samples: Samples, pause: Pause) -> torch.Tensor:
    """The convolutions' features of a whole voice of at least `geometry`'s width: float32 [1, channels, N]."""
    layers = list(network.feature_extractor.conv_layers)
    stride, width = geometry(layers)
    total = (len(samples) - width) // stride + 1
    moments = _moments(layers[0], samples, pause)
    features = torch.empty(0)
    for start in range(0, total, PIECE):
        pause()
        stop = min(start + PIECE, total)
        x = samples.read(start * stride, (stop - 1) * stride + width)
        x = moments.first(layers[0], x) if moments else layers[0](x)
        for layer in layers[1:]:
            x = layer(x)
        if not start:
            features = x.new_empty(1, x.shape[1], total)
        features[:, :, start:stop] = x
    return features


def _positions(embedding: Any, x: torch.Tensor) -> torch.Tensor:
    """x [n, channels] with the convolved position embedding added: a new tensor."""
    conv = embedding.conv
    # One read: the weight is a product (weight norm), made anew each time. Core keeps it out of its casting operations.
    weight, bias = conv.weight.to(x), conv.bias.to(x)
    before = conv.padding[0]
    after = conv.kernel_size[0] - 1 - before  # an even kernel pads one too many, and core cuts that one off
    out = torch.empty_like(x)
    for start in range(0, len(x), ROWS):
        stop = min(start + ROWS, len(x))
        first, last = max(0, start - before), min(len(x), stop + after)
        near = F.pad(x[first:last].T[None], (first - (start - before), stop + after - last))
        near = F.conv1d(near, weight, bias, groups=conv.groups)
        out[start:stop] = x[start:stop] + embedding.activation(near)[0].T
    return out


def _in_rows(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, width: int) -> torch.Tensor:
    """`function` of each row of x [n, ...]: float32 [n, width]."""
    out = x.new_empty(len(x), width)
    for start in range(0, len(x), ROWS):
        out[start : start + ROWS] = function(x[start : start + ROWS])
    return out


def _attend(attention: Any, rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Core's attention of some rows [r, channels] to all keys and values [n, channels]."""
    from comfy.ldm.modules.attention import optimized_attention_masked

    heads, queries = attention.num_heads, attention.q_proj(rows)
    size = max(16, SCORES // (heads * len(keys)))
    parts = [optimized_attention_masked(part[None], keys[None], values[None], heads)[0] for part in queries.split(size)]
    return attention.out_proj(torch.cat(parts))


def _layer(layer: Any, x: torch.Tensor, pause: Pause) -> None:
    """One transformer layer, in place: x [n, channels]."""
    attention, before = layer.attention, layer.do_stable_layer_norm

    def seen(rows: torch.Tensor) -> torch.Tensor:
        return layer.layer_norm(rows) if before else rows

    keys = _in_rows(lambda rows: attention.k_proj(seen(rows)), x, attention.embed_dim)
    values = _in_rows(lambda rows: attention.v_proj(seen(rows)), x, attention.embed_dim)
    for start in range(0, len(x), ROWS):
        pause()
        rows = x[start : start + ROWS]
        rows = rows + _attend(attention, seen(rows), keys, values)
        if before:
            rows = rows + layer.feed_forward(layer.final_layer_norm(rows))
        else:
            rows = layer.layer_norm(rows)
            rows = layer.final_layer_norm(rows + layer.feed_forward(rows))
        x[start : start + ROWS] = rows  # later rows have their keys and values already


def hidden_states(network: Any, samples: Samples, num_frames: int, pause: Pause) -> Iterator[torch.Tensor]:
    """The state after each transformer layer, first to last: float32 [num_frames, channels], valid until the next.

    network: core's Wav2Vec2Model, loaded. The state that goes into the first layer is not among them; of an encoder
    that normalises before its layers (large), the last one is normalised, as the published code takes it.
    """
    features = convolve(network, samples, pause)
    features = F.interpolate(features, size=num_frames, mode="linear", align_corners=True)[0].T
    encoder = network.encoder
    x = _in_rows(network.feature_projection, features, encoder.layers[0].attention.embed_dim)
    del features
    x = _positions(encoder.pos_conv_embed, x)
    if not encoder.do_stable_layer_norm:
        x = _in_rows(encoder.layer_norm, x, x.shape[1])
    for index, layer in enumerate(encoder.layers):
        _layer(layer, x, pause)
        last = index + 1 == len(encoder.layers)
        yield _in_rows(encoder.layer_norm, x, x.shape[1]) if last and encoder.do_stable_layer_norm else x
