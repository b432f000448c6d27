"""The probes of `core_state`: core's MultiTalk code at tiny shapes. Each returns True while core differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

GRID = (2, 2, 3)
HEADS, WIDTH = 4, 8
CHANNELS, AUDIO = 160, 8  # core's audio layers have 40 heads, whatever the width


@contextmanager
def aside() -> Iterator[None]:
    """On the CPU, without gradients, and with the program's random numbers as they were."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        yield


def noise(*shape: int, seed: int) -> torch.Tensor:
    """Normal random numbers of their own generator."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Core's patches (1, 6)


def batch() -> bool:
    """A batch of two gives what its examples give alone, for one and for two speakers."""
    return not (_batches(rows=None) and _batches(rows=_rows(GRID[1] * GRID[2])))


def map_table() -> bool:
    """Any tensor in the making of the map is larger than queries and keys together."""
    from comfy.ldm.wan.model_multitalk import MultiTalkGetAttnMapPatch

    frames, height, width = 4, 32, 32
    q, k = (noise(1, frames * height * width, 2, WIDTH, seed=seed) for seed in (1, 2))
    patch = MultiTalkGetAttnMapPatch(_rows(height * width))
    given = {"x": q, "q": q, "k": k, "transformer_options": {"grid_sizes": (frames, height, width)}}
    return largest_tensor(lambda: patch(given)) > q.numel() + k.numel()


def norm_eps() -> bool:
    """Core's norm_x has another epsilon than the published one."""
    return _block().norm_x.eps != 1e-6


def _rows(tokens: int) -> torch.Tensor:
    place = torch.arange(tokens)
    return torch.stack([(place * 3 // tokens == person).float() for person in range(3)])


def _block() -> Any:
    import comfy.ops
    from comfy.ldm.wan.model_multitalk import WanMultiTalkAttentionBlock

    block = WanMultiTalkAttentionBlock(
        CHANNELS, AUDIO, device="cpu", dtype=torch.float32, operations=comfy.ops.manual_cast
    )
    for number, parameter in enumerate(block.parameters()):  # core leaves what it will load unset
        parameter.copy_(noise(*parameter.shape, seed=number) * parameter.shape[-1] ** -0.5)
    return block


def _batches(rows: torch.Tensor | None) -> bool:
    from comfy.ldm.wan.model_multitalk import MultiTalkCrossAttnPatch, MultiTalkGetAttnMapPatch

    tokens = GRID[0] * GRID[1] * GRID[2]
    x = noise(2, tokens, CHANNELS, seed=11)
    q, k = (noise(2, tokens, HEADS, WIDTH, seed=seed) for seed in (12, 13))
    sound = noise(1, GRID[0], 4 if rows is None else 8, AUDIO, seed=14)
    audio = MultiTalkCrossAttnPatch(SimpleNamespace(model=SimpleNamespace(blocks=[_block()])), 1.0)

    def run(part: slice) -> torch.Tensor:
        options: dict = {"grid_sizes": GRID, "block_index": 0, "audio_embeds": sound}
        options["cond_or_uncond"] = list(range(len(x[part])))
        if rows is not None:
            MultiTalkGetAttnMapPatch(rows)({"x": x[part], "q": q[part], "k": k[part], "transformer_options": options})
        return audio({"x": x[part], "transformer_options": options})

    return torch.allclose(run(slice(0, 2)), torch.cat([run(slice(0, 1)), run(slice(1, 2))]), atol=1e-5)


class _Largest(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def largest_tensor(work: Callable[[], object]) -> int:
    """Elements of the largest tensor that `work` makes."""
    with _Largest() as seen:
        work()
    return seen.numel


# Core's node for two speakers, with stand-ins for all that is heavy (2, 4)


class _Model:
    model_options: dict

    def __init__(self):
        self.model_options, self.patches = {"transformer_options": {}}, {}

    def clone(self) -> _Model:
        return self

    def model_dtype(self) -> torch.dtype:
        return torch.float32

    def add_wrapper_with_key(self, *_: object) -> None:
        pass

    def set_model_patch(self, patch: Any, name: str) -> None:
        self.patches[name] = patch


class _Projection:
    """Keeps the window of features that it is given."""

    seq_len = 5

    def __call__(self, first: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
        self.first = first
        return first.new_zeros(first.shape[0], first.shape[1] + later.shape[1], 32, 4)


def _run_node() -> tuple[_Model, _Projection]:
    from comfy_extras.nodes_wan import WanInfiniteTalkToVideo

    model, projection = _Model(), _Projection()
    patch = SimpleNamespace(model=SimpleNamespace(audio_proj=projection))
    vae = SimpleNamespace(encode=lambda pixels: torch.zeros(1, 16, 2, 2, 2))
    heard = {"encoded_audio_all_layers": [torch.ones(1, 20, 4)] * 3}
    left = torch.zeros(1, 16, 16)
    left[:, :, :8] = 1
    mode = {"mode": "two_speakers", "audio_encoder_output_2": heard, "mask_1": left, "mask_2": 1 - left}
    WanInfiniteTalkToVideo.execute(
        mode, model, patch, [], [], vae, 16, 16, 5, heard, 1, start_image=torch.zeros(1, 16, 16, 3), audio_scale=1.0
    )  # fmt: skip
    return model, projection


def mask_rows() -> bool:
    """The node gives its patch another number of rows than three."""
    return _run_node()[0].patches["attn1_patch"].ref_target_masks.shape[0] != 3


def silence() -> bool:
    """While the first voice speaks, the second one's features are zeros."""
    return not _run_node()[1].first[1].any()


# Core's audio (3, 4, 5)


def feature_order() -> bool:
    """The transformer of core's wav2vec2 sees more than 25 features a second."""
    import comfy.ops
    from comfy.audio_encoders.wav2vec2 import Wav2Vec2Model

    model = Wav2Vec2Model(
        embed_dim=32, num_heads=2, num_layers=1, conv_norm=False, conv_bias=False, do_normalize=False,
        do_stable_layer_norm=False, dtype=torch.float32, device="cpu", operations=comfy.ops.manual_cast,
    )  # fmt: skip
    for parameter in model.parameters():
        parameter.zero_()
    samples = 4000
    return model(torch.zeros(1, 1, samples))[1][0].shape[1] != samples * 25 // 16000


def loudness() -> bool:
    """The encoder is given the sound as loud as it comes."""
    from comfy_extras.nodes_audio_encoder import AudioEncoderEncode

    sound = noise(1, 1, 16000, seed=1)
    encoder = SimpleNamespace(encode_audio=lambda waveform, sample_rate: waveform)
    quiet, loud = (
        AudioEncoderEncode.execute(encoder, {"waveform": sound * gain, "sample_rate": 16000}).args[0]
        for gain in (0.1, 1.0)
    )
    return not torch.allclose(quiet, loud, rtol=1e-2)


def past_end() -> bool:
    """The second frame past the end of four is not the last but one."""
    from comfy.ldm.wan.model_multitalk import get_audio_embeds

    features = torch.arange(4.0).reshape(4, 1, 1)
    return get_audio_embeds([features], 0, 6)[0, 5, 2].item() != 2.0


# Core's guidance (7)


def guidance() -> bool:
    """Core's only node for MultiTalk has no scale of its own for the audio and no choice of loop."""
    from comfy_extras import nodes_wan

    talking = [name for name in vars(nodes_wan) if name.startswith("Wan") and "Talk" in name]
    inputs = {given.id for given in nodes_wan.WanInfiniteTalkToVideo.define_schema().inputs}
    return talking == ["WanInfiniteTalkToVideo"] and not any(
        word in name for name in inputs for word in ("cfg", "guidance", "loop")
    )
