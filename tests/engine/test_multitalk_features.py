"""Voice features on core's wav2vec2 modules, in pieces, against transformers' network, whole."""

import types
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .comfy_import import import_comfyui
from .multitalk_voice_reference import WRONG_FEATURES, small_network, voice_features

pytestmark = pytest.mark.engine

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def comfy(tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def speech(seconds: float, seed: int = 0, loudness: float = 0.1) -> np.ndarray:
    """Noise that swells and fades, so that no moment is like another."""
    count = int(seconds * 16000)
    swell = np.sin(np.arange(count) / 16000 * 5 + seed) ** 2
    return (np.random.default_rng(seed).normal(size=count) * swell * loudness + 0.01).astype(np.float32)


def voices(*spoken: np.ndarray):
    frames = len(spoken[0]) * 25 // 16000
    return types.SimpleNamespace(
        speech=spoken, num_voices=len(spoken), num_frames=frames, seconds=Fraction(len(spoken[0]), 16000)
    )


def encoder(network, large: bool = False):
    """Core's network with the reference's weights, as core's loader would hand it out."""
    import comfy.model_patcher
    import comfy.ops
    from comfy.audio_encoders.wav2vec2 import Wav2Vec2Model

    config = network.config
    own = Wav2Vec2Model(
        embed_dim=config.hidden_size,
        num_heads=config.num_attention_heads,
        num_layers=config.num_hidden_layers,
        conv_norm=large,
        conv_bias=large,
        do_normalize=large,
        do_stable_layer_norm=large,
        operations=comfy.ops.manual_cast,
    ).eval()
    own.load_state_dict(network.state_dict(), strict=True)
    patcher = comfy.model_patcher.CoreModelPatcher(own, load_device=CPU, offload_device=CPU)
    return types.SimpleNamespace(model=own, patcher=patcher, load_device=CPU)


def encode(*arguments, **named):
    from custom_nodes.comfy_motion.talk.features import encode_voices

    return encode_voices(*arguments, **named)


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Relative L2; infinite where the shapes differ."""
    return float((ours - theirs).norm() / theirs.norm()) if ours.shape == theirs.shape else float("inf")


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize("normalize", ["auto", "on", "off"])
def test_features_are_the_published_ones(large, normalize):
    network = small_network(large)
    spoken = (speech(4.03, 1), speech(4.03, 2))
    ours = encode(encoder(network, large), voices(*spoken), normalize)
    on = large if normalize == "auto" else normalize == "on"
    assert (ours.num_voices, ours.num_frames, ours.layers, ours.channels) == (2, 100, 3, 64)
    for index, one in enumerate(spoken):
        theirs = voice_features(network, one, on)
        read = ours.read(index, 0, 100)
        assert apart(read, theirs) < 1e-5
        assert apart(read[:3], theirs[:3]) < 1e-5
        assert apart(read[-3:], theirs[-3:]) < 1e-5
        assert torch.equal(ours.read(index, 40, 50), read[40:50])
    assert apart(ours.read(0, 0, 100), ours.read(1, 0, 100)) > 0.1


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize("wrong", WRONG_FEATURES)
def test_a_wrong_order_shows(large, wrong):
    network, spoken = small_network(large), speech(2)
    ours = encode(encoder(network, large), voices(spoken)).read(0, 0, 50)
    assert apart(ours, voice_features(network, spoken, large)) < 1e-5
    # The base network's first norm, over all time, takes most of the loudness away by itself: 9e-4, the others 0.1.
    assert apart(ours, voice_features(network, spoken, large, wrong)) > 3e-4


def test_the_shortest_voices():
    network = small_network()
    for samples in (640, 1280, 3200, 3839):
        spoken = speech(1)[:samples]
        ours = encode(encoder(network), voices(spoken))
        theirs = voice_features(network, spoken, False)
        assert apart(ours.read(0, 0, ours.num_frames), theirs) < 1e-5


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_silence_is_zeros_through_the_network(large):
    network = small_network(large)
    half = speech(2)
    half[16000:] = 0
    for spoken in (half, np.zeros_like(half)):
        ours = encode(encoder(network, large), voices(spoken)).read(0, 0, 50)
        assert apart(ours, voice_features(network, spoken, large)) < 1e-5
        assert ours.square().mean().sqrt() > 0.3, "zero features would be another sound"


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize("piece", [7, 50, 128])
def test_pieces_are_the_whole(large, piece, monkeypatch):
    from custom_nodes.comfy_motion.talk import wav2vec2

    monkeypatch.setattr(wav2vec2, "PIECE", piece)
    network, spoken = encoder(small_network(large), large).model, speech(5.01)
    with torch.inference_mode():
        ours = wav2vec2.convolve(network, wav2vec2.Samples(spoken, False, CPU), lambda: None)
        theirs = network.feature_extractor(torch.from_numpy(spoken)[None]).transpose(1, 2)
    assert apart(ours, theirs) < 1e-6


@pytest.mark.parametrize("rows", [16, 33, 99])
def test_rows_are_the_whole(rows, monkeypatch):
    """And never are more attention weights asked for at a time than SCORES: some of core's attentions write them."""
    from comfy.ldm.modules import attention

    from custom_nodes.comfy_motion.talk import wav2vec2

    network, spoken, asked = small_network(), speech(4), []
    whole = encode(encoder(network), voices(spoken)).read(0, 0, 100)

    def watched(q, k, v, heads, original=attention.optimized_attention_masked):
        asked.append(heads * q.shape[1] * k.shape[1])
        return original(q, k, v, heads)

    monkeypatch.setattr(attention, "optimized_attention_masked", watched)
    monkeypatch.setattr(wav2vec2, "ROWS", rows)
    monkeypatch.setattr(wav2vec2, "SCORES", 4 * 100 * 20)
    assert apart(encode(encoder(network), voices(spoken)).read(0, 0, 100), whole) < 2e-6
    assert max(asked) <= 4 * 100 * 20
    assert sum(asked) == 3 * 4 * 100 * 100


class Largest(TorchDispatchMode):
    """The most numbers any operation gave."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple) else (out,):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return out


def test_no_tensor_grows_with_the_sound_but_the_features():
    """3 and 12 seconds: all convolved at once, the widest tensor would be four times as wide."""
    small, sizes = encoder(small_network()), []
    for seconds in (3, 12):
        with Largest() as largest:
            encode(small, voices(speech(seconds)))
        sizes.append(largest.numbers)
    assert sizes[0] > 512 * 3200
    assert sizes[1] == sizes[0]


def test_cores_loader_and_the_published_size():
    """12 layers of 768 in float16 by core's own loader: what AudioEncoderLoader hands out."""
    from comfy.audio_encoders.audio_encoders import load_audio_encoder_from_sd

    big = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    network = small_network(**big).half()
    loaded = load_audio_encoder_from_sd({f"wav2vec2.{name}": w for name, w in network.state_dict().items()})
    spoken = speech(1.2)
    ours = encode(loaded, voices(spoken))
    assert (ours.layers, ours.channels) == (12, 768)
    assert apart(ours.read(0, 0, 30), voice_features(network.float(), spoken, False)) < 1e-5
