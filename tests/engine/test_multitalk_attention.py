"""The speaker map, positions and audio attention against the published rules in plain formulas."""

import types

import pytest
import torch

from . import multitalk_reference as reference
from .comfy_import import import_comfyui
from .multitalk_reference import Rules

pytestmark = pytest.mark.engine

FRAMES, HEIGHT, WIDTH = 3, 4, 6
TOKENS, FRAME = FRAMES * HEIGHT * WIDTH, HEIGHT * WIDTH
HEADS, HEAD_WIDTH = 5, 16  # odd: a map of halves of the heads would lose one
CHANNELS, AUDIO = 160, 24


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import comfy.samplers  # noqa: F401 - core's modules import each other in this order only

    from custom_nodes.comfy_motion.talk import attention

    return attention


@pytest.fixture(autouse=True)
def as_in_comfyui():
    with torch.inference_mode():
        yield


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def masks() -> torch.Tensor:
    """Unequal sizes, so that a map that is not divided by them is another; one token is both persons'."""
    rows = torch.zeros(3, HEIGHT, WIDTH)
    rows[0, 1:, :2] = 1
    rows[1, 2:4, 3:6] = 1
    rows[0, 3, 3] = 1
    rows[2] = 1 - rows[:2].amax(0)
    return rows.flatten(1)


def queries(batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """With a look that differs from head to head and token to token, as trained ones."""
    q = noise(batch, TOKENS, HEADS, HEAD_WIDTH, seed=1) * 2
    return q, noise(batch, TOKENS, HEADS, HEAD_WIDTH, seed=2)


def error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value - expected).norm() / expected.norm()).item()


def largest_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value - expected).abs().max() / expected.abs().max()).item()


def audio_module() -> torch.nn.Module:
    """Core's own layers with random weights."""
    import comfy.ops
    from comfy.ldm.wan.model_multitalk import SingleStreamMultiAttention

    kind = {"device": "cpu", "dtype": torch.float32, "operations": comfy.ops.manual_cast}
    module = SingleStreamMultiAttention(CHANNELS, AUDIO, num_heads=40, qkv_bias=True, **kind)
    for number, parameter in enumerate(module.parameters()):
        parameter.copy_(noise(*parameter.shape, seed=40 + number) * 2 * parameter.shape[-1] ** -0.5)
    return module


def test_the_map_is_the_eager_formula(attention):
    """Seen 2e-7."""
    q, k = queries()
    looks = attention.speaker_map(q, k[:, :FRAME], masks())
    expected = torch.stack([reference.speaker_map(*row, masks()) for row in zip(q, k[:, :FRAME], strict=True)])
    print(f"\nmap: relative error {error(looks, expected):.1e}, largest {largest_error(looks, expected):.1e}")
    assert looks.shape == (2, 3, TOKENS)
    assert largest_error(looks, expected) < 1e-5
    for wrong in (Rules(heads_dropped=1), Rules(divided_by_the_mask=False), Rules(largest_head=True)):
        twin = torch.stack([reference.speaker_map(*row, masks(), wrong) for row in zip(q, k[:, :FRAME], strict=True)])
        assert error(looks, twin) > 1e-2, wrong
    assert error(looks[:, [1, 0, 2]], expected) > 1e-1
    assert error(attention.speaker_map(q, k[:, FRAME : 2 * FRAME], masks()), expected) > 1e-1


def test_the_map_in_bfloat16_is_as_near_as_the_type(attention):
    q, k = (part.bfloat16() for part in queries())
    looks = attention.speaker_map(q, k[:, :FRAME], masks())
    expected = attention.speaker_map(q.float(), k[:, :FRAME].float(), masks())
    assert looks.dtype == torch.float32
    assert error(looks, expected) < 4e-3


def test_a_batch_is_its_rows(attention):
    q, k = queries(3)
    together = attention.speaker_map(q, k[:, :FRAME], masks())
    alone = torch.cat([attention.speaker_map(q[n : n + 1], k[n : n + 1, :FRAME], masks()) for n in range(3)])
    assert largest_error(together, alone) < 1e-6
    places = attention.positions(together)
    assert torch.equal(places, torch.cat([attention.positions(together[n : n + 1]) for n in range(3)]))


def test_an_empty_mask_is_a_row_of_zeros(attention):
    """NaN in the published code. The others' tokens keep their places."""
    q, k = queries(1)
    rows = masks()
    rows[1] = 0
    looks = attention.speaker_map(q, k[:, :FRAME], rows)
    assert torch.equal(looks[:, 1], torch.zeros(1, TOKENS))
    places = attention.positions(looks)
    assert places.isfinite().all()
    assert not ((places >= 20) & (places <= 24)).any()
    whole = attention.positions(attention.speaker_map(q, k[:, :FRAME], masks()))
    first = (whole <= 4) & (places <= 4)
    assert first.any()
    assert torch.equal(places[first], whole[first])


def test_positions_are_the_published_ones(attention):
    q, k = queries()
    looks = attention.speaker_map(q, k[:, :FRAME], masks())
    places = attention.positions(looks)
    expected = torch.stack([reference.positions(row) for row in looks])
    assert (places - expected).abs().max() < 1e-4
    for low, high in ((0, 4), (12, 12), (20, 24)):
        assert ((places >= low) & (places <= high)).sum() > TOKENS / 10, "the example has no such token"
    no_background = torch.stack([reference.positions(row, Rules(background=False)) for row in looks])
    assert (places != no_background).float().mean() > 0.2
    assert (attention.positions(looks[:, [1, 0, 2]]) - expected).abs().max() > 10
    # One example's smallest and largest are its own.
    scaled = torch.cat((looks[:1], looks[1:] * 3))
    assert (attention.positions(scaled) - places).abs().max() < 1e-2


def test_the_rotary_embedding_is_the_published_one(attention):
    from comfy.ldm.flux.math import apply_rope1

    x, places = noise(1, TOKENS, HEADS, HEAD_WIDTH, seed=3), noise(1, TOKENS, seed=4) * 12 + 12
    turned = apply_rope1(x, attention.rotation(places, HEAD_WIDTH))
    assert largest_error(turned[0], reference.rotate(x[0], places[0])) < 1e-5
    assert error(apply_rope1(x, attention.rotation(places + 0.1, HEAD_WIDTH)), turned) > 1e-3


@pytest.mark.parametrize("voices", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
def test_audio_attention_is_the_published_one(attention, voices, batch):
    """Seen 5e-7. The grid of 4x6 tokens and three frames is no square and no power of two."""
    module = audio_module()
    x, tokens = noise(batch, TOKENS, CHANNELS, seed=5), noise(FRAMES, 32 * voices, AUDIO, seed=6)
    places = (noise(batch, TOKENS, seed=7) * 12 + 12) if voices == 2 else None
    heard = attention.audio_attention(module, x, tokens, places)

    def expected(rules: Rules = reference.PUBLISHED, sound: torch.Tensor = tokens) -> torch.Tensor:
        return torch.stack([
            reference.audio_attention(module, row, sound, None if places is None else places[number], rules)
            for number, row in enumerate(x)
        ])  # fmt: skip

    print(f"\n{voices} voices, batch {batch}: {error(heard, expected()):.1e}")
    assert error(heard, expected()) < 1e-5
    rows = [slice(number, number + 1) for number in range(batch)]
    alone = [attention.audio_attention(module, x[row], tokens, None if places is None else places[row]) for row in rows]
    assert error(heard, torch.cat(alone)) < 1e-6
    assert error(heard, expected(sound=tokens.flip(0))) > 1e-1  # another frame's sound
    if voices == 2:
        assert error(heard, expected(Rules(keys=(0.0, 20.0)))) > 1e-2
        assert error(heard, expected(sound=tokens.roll(32, 1))) > 1e-2  # the voices swapped
        assert error(attention.audio_attention(module, x, tokens, None), expected()) > 1e-2


def test_it_is_cores_attention_for_one_example(attention):
    """Core v0.33.0 agrees with the published code here (a batch of one, an even number of heads)."""
    from comfy.ldm.wan.model_multitalk import get_attn_map_with_target

    grid, module = (FRAMES, HEIGHT, WIDTH), audio_module()
    q, k = (part[:1, :, :4] for part in queries())
    x, tokens = noise(1, TOKENS, CHANNELS, seed=5), noise(FRAMES, 64, AUDIO, seed=6)
    looks = get_attn_map_with_target(q, k, grid, masks())
    expected = module(x, tokens[None], shape=grid, x_ref_attn_map=looks)
    places = attention.positions(attention.speaker_map(q, k[:, :FRAME], masks()))
    assert error(attention.audio_attention(module, x, tokens, places), expected) < 1e-4
    one = module(x, tokens[None, :, :32], shape=grid)
    assert error(attention.audio_attention(module, x, tokens[:, :32]), one) < 1e-5


def test_memory_is_linear(attention):
    """No tensor is larger than what goes in; core's map in pieces makes one that is eight times larger."""
    from comfy.ldm.wan.model_multitalk import get_attn_map_with_target

    from custom_nodes.comfy_motion.talk.core_probes import largest_tensor

    frames, height, width = 4, 32, 32
    frame = height * width
    with torch.inference_mode(False), torch.no_grad():  # else composite operations are not taken apart
        q, k = (noise(1, frames * frame, 2, 16, seed=seed) for seed in (1, 2))
        rows = (torch.arange(frame) * 3 // frame == torch.arange(3)[:, None]).float()
        ours = largest_tensor(lambda: attention.positions(attention.speaker_map(q, k[:, :frame], rows)))
        cores = largest_tensor(lambda: get_attn_map_with_target(q, k, (frames, height, width), rows))
    assert ours <= q.numel()
    assert cores > 3 * q.numel()


def test_every_weight_goes_through_the_modules_own_layers(attention):
    """So that LoRA, offloading and casting of the loaded patch take effect."""
    called, module = [], audio_module()

    def layer(name: str):
        return lambda x: called.append(name) or getattr(module, name)(x)

    names = ("q_linear", "kv_linear", "proj")
    stand_in = types.SimpleNamespace(num_heads=40, **{name: layer(name) for name in names})
    attention.audio_attention(stand_in, noise(1, TOKENS, CHANNELS), noise(FRAMES, 32, AUDIO))
    assert called == list(names)
