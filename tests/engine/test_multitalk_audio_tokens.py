"""Audio tokens by core's projection modules, against loops over frames in float64."""

import types

import pytest
import torch

from .multitalk_voice_reference import WRONG_TOKENS, audio_tokens
from .test_multitalk_features import CPU, apart, comfy, one_thread  # noqa: F401

pytestmark = pytest.mark.engine

FRAMES, LAYERS, CHANNELS = 60, 3, 16


@pytest.fixture(scope="module")
def patch(comfy):  # noqa: F811
    """A MODEL_PATCH whose projection is core's own, small and with random float16 weights, as files have them."""
    import comfy.model_patcher
    import comfy.ops
    from comfy.ldm.wan.model_multitalk import MultiTalkAudioProjModel

    sizes = {"blocks": LAYERS, "channels": CHANNELS, "intermediate_dim": 24, "out_dim": 20}
    projection = MultiTalkAudioProjModel(
        5, 8, **sizes, context_tokens=32, dtype=torch.float16, operations=comfy.ops.manual_cast
    )
    generator = torch.Generator().manual_seed(4)
    for weight in projection.parameters():
        weight.data = (torch.randn(weight.shape, generator=generator) * 0.2).half()
    model = torch.nn.Module()
    model.audio_proj = projection
    return comfy.model_patcher.CoreModelPatcher(model, load_device=CPU, offload_device=CPU)


@pytest.fixture
def heard(tmp_path):
    """Features of one or two voices on disk, and the same as tensors [frames, layers, channels]."""
    from custom_nodes.comfy_motion.talk.features import VoiceFeatures

    def make(count: int, channels: int = CHANNELS):
        generator = torch.Generator().manual_seed(5)
        tensors = [torch.randn(FRAMES, LAYERS, channels, generator=generator) for _ in range(count)]
        paths = tuple(tmp_path / f"{index}" for index in range(count))
        for path, tensor in zip(paths, tensors, strict=True):
            tensor.movedim(1, 0).contiguous().numpy().tofile(path)
        return VoiceFeatures(paths, FRAMES, LAYERS, channels), tensors

    return make


def tokens(patch, features, start: int, length: int, mirrored: bool) -> torch.Tensor:
    from custom_nodes.comfy_motion.talk import audio_windows

    positions = audio_windows.window_positions(start, length, FRAMES, mirrored)
    return audio_windows.audio_tokens(patch, features, positions)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("start", "length", "mirrored"), [(0, 17, False), (0, 1, False), (20, 17, False), (48, 17, True), (43, 17, False)]
)
def test_tokens_are_the_published_ones(patch, heard, count, start, length, mirrored):
    features, tensors = heard(count)
    ours = tokens(patch, features, start, length, mirrored)
    theirs = audio_tokens(patch.model.audio_proj, tensors, start, length, mirrored)
    assert ours.shape == ((length + 3) // 4, count * 32, 20)
    assert ours.dtype == torch.float32
    assert apart(ours, theirs) < 1e-5
    assert apart(ours[:1], theirs[:1]) < 1e-5
    assert apart(ours[-1:], theirs[-1:]) < 1e-5


@pytest.mark.parametrize("wrong", WRONG_TOKENS)
def test_a_wrong_window_shows(patch, heard, wrong):
    features, tensors = heard(2)
    ours = tokens(patch, features, 48, 17, True)
    assert apart(ours, audio_tokens(patch.model.audio_proj, tensors, 48, 17, True)) < 1e-5
    assert apart(ours, audio_tokens(patch.model.audio_proj, tensors, 48, 17, True, wrong)) > 1e-2


def test_silent_tokens_are_zero_features_of_one_person(patch, heard):
    from custom_nodes.comfy_motion.talk.audio_windows import silent_tokens

    features, tensors = heard(2)
    ours = silent_tokens(patch, features, 17)
    theirs = audio_tokens(patch.model.audio_proj, [torch.zeros_like(tensors[0])], 0, 17, False)
    assert ours.shape == (5, 32, 20)
    assert apart(ours, theirs) < 1e-5
    assert float(ours.abs().max()) > 0.1, "the projection has biases: silence is not zero tokens"


def test_equal_to_core_within_the_sound(patch, heard):
    """Where core does no wrong, we give what it gives; past the end it has the first frame, we the way back."""
    from comfy.ldm.wan.model_multitalk import project_audio_features

    features, tensors = heard(2)
    for start, equal in ((20, True), (48, False)):
        theirs = project_audio_features(patch.model.audio_proj, tensors, start, start + 17)[0]
        assert (apart(tokens(patch, features, start, 17, True), theirs) < 1e-6) is equal


def test_an_encoder_of_another_size_is_refused(patch, heard):
    from custom_nodes.comfy_motion.errors import MotionError

    features, _ = heard(1, channels=24)
    with pytest.raises(MotionError, match=r"model_file.*3 layers of 24.*12 layers of 768"):
        tokens(patch, features, 0, 5, False)


def test_parts_of_the_sound_are_read(patch, heard):
    """A window reads its own frames and two either way, however long the sound is."""
    features, _ = heard(1)
    asked = []

    def read(voice, start, stop):
        asked.append((start, stop))
        return features.read(voice, start, stop)

    watched = types.SimpleNamespace(num_voices=1, layers=LAYERS, channels=CHANNELS, read=read)
    tokens(patch, watched, 20, 9, False)
    assert asked == [(18, 31)]
