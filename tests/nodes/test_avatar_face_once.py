"""The memory of the face encoder: by value, at most two videos, gone when a sampling ends in any way."""

import types

import pytest
import torch

from custom_nodes.comfy_motion.avatar.face_once import FaceMemory, _forgetting, _remembering


class Network:
    """Has what the wrapper needs of AnimateWanModel, and counts."""

    def __init__(self):
        self.encoded = 0

    def after_patch_embedding(self, x, pose, face):
        if pose is not None:
            x += pose
        if face is None:
            return x, None
        self.encoded += 1
        return x, face.sum() * torch.ones(x.shape[2])


class Executor:
    def __init__(self, network):
        self.class_obj = network

    def __call__(self, face, latents=3, pose=1.0):
        return self.class_obj.after_patch_embedding(torch.zeros(1, 1, latents), torch.tensor(pose), face)


def test_equal_videos_are_encoded_once_and_others_are_not_mixed_up():
    network, memory = Network(), FaceMemory()
    evaluate, plain = _remembering(memory), Network()
    one, other = torch.arange(4.0), torch.ones(4)
    for face in (one, other, one.clone(), other.clone(), one):
        x, tokens = evaluate(Executor(network), face)
        expected_x, expected = plain.after_patch_embedding(torch.zeros(1, 1, 3), torch.tensor(1.0), face)
        assert torch.equal(tokens, expected)
        assert torch.equal(x, expected_x)  # the pose is added on a hit too
    assert network.encoded == 2
    assert evaluate(Executor(network), one, latents=5)[1].shape == (5,)  # another length is another window
    evaluate(Executor(network), one.double())  # nor is another type the same video
    assert network.encoded == 4
    assert evaluate(Executor(network), None)[1] is None
    assert "after_patch_embedding" not in vars(network)


def test_no_more_than_two_are_kept():
    memory = FaceMemory()
    for n in range(5):
        memory.keep(torch.tensor([n]), 1, torch.tensor([n]))
    assert [memory.find(torch.tensor([n]), 1) is not None for n in range(5)] == [False, False, False, True, True]


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_outlives_a_sampling(fails):
    memory = FaceMemory()
    memory.keep(torch.ones(1), 1, torch.ones(1))
    seen = []

    def sampling():
        seen.append(memory.find(torch.ones(1), 1))
        memory.keep(torch.ones(1), 1, torch.ones(1))
        if fails:
            raise InterruptedError

    try:
        _forgetting(memory)(sampling)
    except InterruptedError:
        assert fails
    assert seen == [None]
    assert memory.find(torch.ones(1), 1) is None


def test_another_patch_of_the_method_is_put_back():
    network = Network()
    network.after_patch_embedding = patch = types.MethodType(Network.after_patch_embedding, network)
    _remembering(FaceMemory())(Executor(network), torch.ones(2))
    assert network.after_patch_embedding is patch
