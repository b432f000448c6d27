"""The seven differences of core: the pinned one still has them, and a fixed one would be seen and used."""

import logging
import types

import pytest
import torch

from . import multitalk_network as tiny
from .comfy_import import import_comfyui
from .multitalk_network import AUDIO, GRID, evaluate, masks, noise

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """The modules of core that a fix would change."""
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import comfy.samplers  # noqa: F401 - core's modules import each other in this order only
    from comfy.audio_encoders import wav2vec2
    from comfy.ldm.wan import model_multitalk
    from comfy_extras import nodes_audio_encoder, nodes_wan

    return types.SimpleNamespace(
        talk=model_multitalk, nodes=nodes_wan, encoder=nodes_audio_encoder, wav2vec2=wav2vec2
    )  # fmt: skip


@pytest.fixture(autouse=True)
def state(core):
    """core_state, asked anew; and again after the test."""
    from custom_nodes.comfy_motion.talk import core_state

    core_state.core_differs.cache_clear()
    with torch.inference_mode():
        yield core_state
    core_state.core_differs.cache_clear()


NAMES = [
    "batch", "map_table", "mask_rows", "feature_order", "silence", "loudness", "past_the_end", "norm_eps", "guidance",
]  # fmt: skip


def test_every_difference_has_a_probe(state):
    assert list(state.DIFFERENCES) == NAMES
    assert {entry[0][0] for entry in state.DIFFERENCES.values()} == set("1234567")


@pytest.mark.parametrize("name", NAMES)
def test_pinned_core_still_differs(state, name):
    """By what the probe sees; that it cannot run would be no finding."""
    from custom_nodes.comfy_motion.talk import core_probes

    assert state.core_differs(name)
    with core_probes.aside():
        if name == "batch":
            with pytest.raises(RuntimeError, match="invalid for input of size"):
                state.DIFFERENCES[name][1]()
        else:
            assert state.DIFFERENCES[name][1]() is True


def fix_batch(core, monkeypatch):
    """Core's audio attention row by row, with a map [B, R, L]."""
    forward, find = core.talk.SingleStreamMultiAttention.forward, core.talk.get_attn_map_with_target

    def every_row(self, x, encoder_hidden_states, shape=None, x_ref_attn_map=None):
        looks = [None] * len(x) if x_ref_attn_map is None else x_ref_attn_map
        rows = zip(x, looks, strict=True)
        return torch.cat([forward(self, row[None], encoder_hidden_states, shape, look) for row, look in rows])

    def every_map(q, k, shape, ref_target_masks=None):
        rows = zip(q, k, strict=True)
        return torch.stack([find(row[None], key[None], shape, ref_target_masks) for row, key in rows])

    monkeypatch.setattr(core.talk.SingleStreamMultiAttention, "forward", every_row)
    monkeypatch.setattr(core.talk, "get_attn_map_with_target", every_map)


def fix_map_table(core, monkeypatch):
    """A map without a table, [B, R, L]."""
    from custom_nodes.comfy_motion.talk.attention import speaker_map

    def find(q, k, shape, ref_target_masks=None):
        return speaker_map(q, k[:, : ref_target_masks.shape[1]], ref_target_masks)

    monkeypatch.setattr(core.talk, "get_attn_map_with_target", find)


def fix_mask_rows(core, monkeypatch):
    plain = core.nodes.MultiTalkGetAttnMapPatch
    monkeypatch.setattr(
        core.nodes, "MultiTalkGetAttnMapPatch", lambda rows: plain(torch.cat((rows, ~rows.any(0, keepdim=True))))
    )  # fmt: skip


def fix_feature_order(core, monkeypatch):
    project = core.wav2vec2.FeatureProjection.forward

    def at_25(self, x):
        return project(self, torch.nn.functional.interpolate(x.mT, size=6, mode="linear", align_corners=True).mT)

    monkeypatch.setattr(core.wav2vec2.FeatureProjection, "forward", at_25)


def fix_silence(core, monkeypatch):
    project = core.nodes.project_audio_features

    def heard(audio_proj, encoded, start, end):
        return project(audio_proj, [torch.where(voice == 0, 0.3, voice) for voice in encoded], start, end)

    monkeypatch.setattr(core.nodes, "project_audio_features", heard)


def fix_loudness(core, monkeypatch):
    encode = core.encoder.AudioEncoderEncode.execute.__func__

    def levelled(cls, audio_encoder, audio):
        return encode(cls, audio_encoder, audio | {"waveform": audio["waveform"] / audio["waveform"].std()})

    monkeypatch.setattr(core.encoder.AudioEncoderEncode, "execute", classmethod(levelled))


def fix_past_the_end(core, monkeypatch):
    window = core.talk.get_audio_embeds

    def mirrored(encoded, start, end):
        missing = [end - len(voice) for voice in encoded]
        longer = [torch.cat((voice, voice.flip(0)[:more])) for voice, more in zip(encoded, missing, strict=True)]
        return window(longer, start, end)

    monkeypatch.setattr(core.talk, "get_audio_embeds", mirrored)


def fix_norm_eps(core, monkeypatch):
    build = core.talk.WanMultiTalkAttentionBlock.__init__

    def built(self, *given, **named):
        build(self, *given, **named)
        self.norm_x.eps = 1e-6

    monkeypatch.setattr(core.talk.WanMultiTalkAttentionBlock, "__init__", built)


def fix_guidance(core, monkeypatch):
    schema = core.nodes.WanInfiniteTalkToVideo.define_schema()
    scaled = types.SimpleNamespace(inputs=[*schema.inputs, types.SimpleNamespace(id="audio_cfg")])
    monkeypatch.setattr(core.nodes.WanInfiniteTalkToVideo, "define_schema", lambda: scaled)


@pytest.mark.parametrize("name", NAMES)
def test_a_fixed_core_is_seen(state, core, monkeypatch, caplog, name):
    globals()[f"fix_{name}"](core, monkeypatch)
    with caplog.at_level(logging.INFO):
        assert not state.core_differs(name)
    assert state.DIFFERENCES[name][0] in caplog.text
    with monkeypatch.context() as later:
        later.setitem(state.DIFFERENCES, name, ("never asked twice", lambda: pytest.fail("probed again")))
        assert not state.core_differs(name)
    others = {other for other in NAMES if not state.core_differs(other)}
    assert others == {name}


def test_a_probe_that_cannot_run_means_that_ours_runs(state, core, monkeypatch):
    monkeypatch.delattr(core.talk, "MultiTalkGetAttnMapPatch")
    assert state.core_differs("map_table")
    assert state.core_differs("batch")


def test_probes_leave_random_numbers_alone(state):
    before = torch.random.get_rng_state()
    assert all(state.core_differs(name) for name in NAMES)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("voices", "fixed", "cores"), [
    (1, (), False), (2, (), False),
    (1, (fix_batch,), True), (2, (fix_batch,), False),  # its map is still a table: two speakers would cost 1.3 times
    (1, (fix_batch, fix_map_table), True), (2, (fix_batch, fix_map_table), True),
])  # fmt: skip
def test_our_patches_step_aside_for_a_fixed_core(state, core, monkeypatch, voices, fixed, cores):
    """Core's attention does the work, row by row what each hears, and the result is the same."""
    from custom_nodes.comfy_motion.talk import patches

    model, patch = tiny.tiny_wan(), tiny.tiny_multitalk()
    tokens, silent = (noise(GRID[0], 32 * count, AUDIO, seed=21 + count) for count in (voices, 1))
    talk = patches.TalkInput(tokens, silent, masks() if voices == 2 else None)
    expected = evaluate(patches.attach(model, patch, talk, {2}), [1, 2, 0], extra=1)
    for fix in fixed:
        fix(core, monkeypatch)
    state.core_differs.cache_clear()
    calls = []
    for name in ("audio_attention", "speaker_map"):
        ours = getattr(patches, name)
        monkeypatch.setattr(patches, name, lambda *given, ours=ours: calls.append("ours") or ours(*given))
    forward = core.talk.SingleStreamMultiAttention.forward

    def counted(*given, **named):
        calls.append("core")
        return forward(*given, **named)

    monkeypatch.setattr(core.talk.SingleStreamMultiAttention, "forward", counted)
    talking = patches.attach(model, patch, talk, {2})
    calls.clear()
    value = evaluate(talking, [1, 2, 0], extra=1)
    assert set(calls) == {"core" if cores else "ours"}
    assert ((value - expected).norm() / expected.norm()).item() < 1e-4
