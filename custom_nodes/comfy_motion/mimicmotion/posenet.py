"""PoseNet: drawn poses to what is added to the UNet's first features, at an eighth of the size.

Convolutions of 3x3 and, where the picture is halved, 4x4 with stride 2, each followed by SiLU; one of 1x1 to the
UNet's width, times one learned number. The sizes are those of the file. Each frame is seen for itself, so it is seen
once: MimicMotion's published pipeline runs PoseNet again for every tile and step (fact 8), with the same result.
"""

import re
from collections.abc import Mapping
from itertools import pairwise

import torch

from ..errors import MotionError

BATCH = 8  # frames at a time
_HALVING = 4  # the kernel of a layer that halves the picture
_EIGHTH = 3  # so many halvings
_LAYER = re.compile(r"conv_layers\.(\d+)\.weight")


class PoseNet(torch.nn.Module):
    """float [n, 3, h, w] in -1..1 to [n, channels, h/8, w/8]."""

    def __init__(self, sizes: list[tuple[int, int, int]], channels: int):
        """sizes: (channels in, channels out, kernel) of each convolution, in order."""
        super().__init__()
        layers: list[torch.nn.Module] = []
        for narrow, wide, kernel in sizes:
            stride = 2 if kernel == _HALVING else 1
            layers += [torch.nn.Conv2d(narrow, wide, kernel, stride, padding=1), torch.nn.SiLU()]
        self.conv_layers = torch.nn.Sequential(*layers)
        self.final_proj = torch.nn.Conv2d(sizes[-1][1], channels, 1)
        self.scale = torch.nn.Parameter(torch.ones(1))

    @classmethod
    def from_weights(cls, weights: Mapping[str, torch.Tensor]) -> "PoseNet":
        """The network that these tensors are of, in float32 on the CPU. Raises MotionError model_file."""
        found = sorted((int(m[1]), weights[name]) for name in weights if (m := _LAYER.fullmatch(name)))
        sizes = [(w.shape[1], w.shape[0], w.shape[-1]) for _, w in found if w.ndim == 4]
        last = weights.get("final_proj.weight")
        halvings = sum(kernel == _HALVING for *_, kernel in sizes)
        chained = all(before[1] == after[0] for before, after in pairwise(sizes))
        if not sizes or last is None or not chained or halvings != _EIGHTH or sizes[0][0] != 3:
            raise _not_a_posenet(f"layers (in, out, kernel) {sizes}")
        net = cls(sizes, last.shape[0])
        try:
            net.load_state_dict(dict(weights), strict=True)
        except RuntimeError as error:
            raise _not_a_posenet(str(error)) from None
        return net.eval().requires_grad_(False)

    @property
    def channels(self) -> int:
        return self.final_proj.out_channels

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.final_proj(self.conv_layers(pictures)) * self.scale


def encode(net: PoseNet, frames: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Drawn poses, uint8 [n, h, w, 3], as pose latents [n, channels, h/8, w/8] on `device`.

    Computed in float32, a few frames at a time, and stored in `dtype`, that of the UNet: 72 frames of 576x1024 in
    fp16 take 0.4 GB.
    """
    net.to(device)
    try:
        parts = []
        for some in frames.split(BATCH):
            pictures = some.to(device).movedim(-1, 1).float() / 127.5 - 1
            parts.append(net(pictures).to(dtype))
        return torch.cat(parts)
    finally:
        net.to("cpu")


class PoseLatents:
    """Pose latents of a video's chunks. The reference's pose, and frames that two chunks share, are encoded once."""

    def __init__(self, net: PoseNet, reference: torch.Tensor, device: torch.device, dtype: torch.dtype, shared: int):
        """reference: the drawn pose of frame 0, uint8 [1, h, w, 3]. shared: most frames two chunks have in common."""
        self._net, self._to, self._shared = net, (device, dtype), shared
        self._reference = encode(net, reference, *self._to)
        self._stop, self._tail = 0, self._reference[:0]

    def of(self, start: int, drawn: torch.Tensor) -> torch.Tensor:
        """[1 + n, channels, h/8, w/8]: the reference's and those of frames start .. start + n - 1, drawn as uint8."""
        common = self._stop - start
        known = self._tail[-common:] if 0 < common <= len(self._tail) else self._tail[:0]
        fresh = drawn[len(known) :]
        parts = [self._reference, known] + ([encode(self._net, fresh, *self._to)] if len(fresh) else [])
        latents = torch.cat(parts)
        self._stop, self._tail = start + len(drawn), latents[1:][-self._shared :].clone()
        return latents


def _not_a_posenet(seen: str) -> MotionError:
    return MotionError(
        "model_file",
        f"The file's pose_net is not MimicMotion's: {seen[:500]}.",
        "Take MimicMotion_1-1.pth of tencent/MimicMotion on Hugging Face.",
    )
