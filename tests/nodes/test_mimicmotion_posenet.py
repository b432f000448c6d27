"""PoseNet from its tensors, what is not one, and that no frame goes through it twice."""

import pytest
import torch
from torch.nn import functional

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.mimicmotion.posenet import PoseLatents, PoseNet, encode
from demo.tiny_mimicmotion_shapes import mimicmotion_shapes
from demo.tiny_wan import random_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights():
    made = random_weights(mimicmotion_shapes(), 3)
    return {name.removeprefix("pose_net."): value for name, value in made.items() if name.startswith("pose_net.")}


def drawn(count: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 16, 24, 3), generator=generator, dtype=torch.uint8)


def by_hand(weights, frames: torch.Tensor) -> torch.Tensor:
    """-1..1; four pairs of layers, the first three of which end with one that halves; 1x1; scale."""
    x = frames.permute(0, 3, 1, 2).float() / 127.5 - 1
    for number in range(0, 16, 2):
        kernel = weights[f"conv_layers.{number}.weight"]
        stride = 2 if number in (2, 6, 10) else 1
        x = functional.silu(functional.conv2d(x, kernel, weights[f"conv_layers.{number}.bias"], stride, padding=1))
    return functional.conv2d(x, weights["final_proj.weight"], weights["final_proj.bias"]) * weights["scale"]


def test_it_is_the_published_network(weights):
    net, frames = PoseNet.from_weights(weights), drawn(11)
    made = encode(net, frames, CPU, torch.float32)
    assert made.shape == (11, net.channels, 2, 3)
    assert torch.allclose(made, by_hand(weights, frames), atol=1e-5)
    assert encode(net, frames[:1], CPU, torch.float16).dtype == torch.float16


@pytest.mark.parametrize("name", ["conv_layers.4.weight", "final_proj.weight", "scale", "conv_layers.0.bias"])
def test_a_file_that_lacks_a_tensor_is_refused(weights, name):
    with pytest.raises(MotionError, match="pose_net is not MimicMotion's"):
        PoseNet.from_weights({key: value for key, value in weights.items() if key != name})


def test_a_tensor_too_many_is_refused(weights):
    with pytest.raises(MotionError, match="odd"):
        PoseNet.from_weights(weights | {"odd": torch.zeros(1)})


def test_frames_that_chunks_share_are_encoded_once(weights):
    net, frames, reference = PoseNet.from_weights(weights), drawn(30), drawn(1, seed=9)
    seen: list[int] = []
    net.register_forward_hook(lambda _net, given, _made: seen.append(len(given[0])))
    latents = PoseLatents(net, reference, CPU, torch.float32, shared=16)
    whole = by_hand(weights, torch.cat([reference, frames]))
    for start, stop in ((0, 12), (8, 20), (14, 30)):
        made = latents.of(start, frames[start:stop])
        assert torch.allclose(made, torch.cat([whole[:1], whole[1 + start : 1 + stop]]), atol=1e-5)
    assert sum(seen) == 31
    latents.of(25, frames[25:])  # all known
    assert sum(seen) == 31


def test_frames_that_are_not_known_are_encoded(weights):
    """After a chunk that was kept on disk the next one shares nothing with what was encoded."""
    net, frames = PoseNet.from_weights(weights), drawn(30)
    latents = PoseLatents(net, drawn(1, seed=9), CPU, torch.float32, shared=4)
    latents.of(0, frames[:10])
    for start, stop in ((15, 25), (12, 22)):  # a gap; more in common than is remembered
        made = latents.of(start, frames[start:stop])
        assert torch.allclose(made[1:], by_hand(weights, frames[start:stop]), atol=1e-5)
