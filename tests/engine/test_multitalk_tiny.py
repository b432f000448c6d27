"""MultiTalk's tiny files: core loads each whole, the audio encoder hears, one LoRA file serves two models."""

import logging
import types

import pytest
import torch

from .avatar_world import as_in_comfyui  # noqa: F401
from .comfy_import import import_comfyui

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The files, the avatar's beside them."""
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    from demo import tiny_multitalk, tiny_wan

    folder = tmp_path_factory.mktemp("models")
    files = tiny_wan.write_tiny_wan(folder) | tiny_multitalk.write_tiny_multitalk(folder)
    return types.SimpleNamespace(files=files, names=tiny_multitalk, avatar=tiny_wan)


def load(path):
    import comfy.utils

    return comfy.utils.load_torch_file(str(path))


@pytest.fixture(scope="module")
def encoder(tiny):
    """Core's audio encoder with the tiny weights; what it warned of is in `warned`."""
    from comfy.audio_encoders.audio_encoders import load_audio_encoder_from_sd

    records: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        loaded = load_audio_encoder_from_sd(load(tiny.files[tiny.names.AUDIO_ENCODER]))
    finally:
        logging.getLogger().removeHandler(handler)
    return types.SimpleNamespace(encoder=loaded, warned=records)


def test_core_knows_the_model_as_wan21_i2v_and_the_patch_fits_it(tiny, caplog):
    import comfy.sd
    from comfy_extras.nodes_model_patch import ModelPatchLoader

    with caplog.at_level(logging.WARNING):
        model = comfy.sd.load_diffusion_model(str(tiny.files[tiny.names.MODEL]))
        with pytest.MonkeyPatch.context() as patch:
            path = str(tiny.files[tiny.names.PATCH])
            patch.setattr("folder_paths.get_full_path_or_raise", lambda folder, name: path)
            (loaded,) = ModelPatchLoader().load_model_patch("multitalk.safetensors")
    assert [record.getMessage() for record in caplog.records if "key" in record.getMessage().lower()] == []
    config = model.model.model_config.unet_config
    assert (config["model_type"], config["in_dim"], config["num_layers"]) == ("i2v", 36, 2)
    block = loaded.model.blocks[0].audio_cross_attn
    assert (block.dim, block.num_heads, block.head_dim % 2) == (config["dim"], 40, 0)
    assert len(loaded.model.blocks) >= config["num_layers"]
    assert tiny.files[tiny.names.PATCH].stat().st_size < 90e6


def test_the_audio_encoder_is_loaded_whole_and_hears(encoder):
    assert encoder.warned == []
    seconds = torch.arange(16_000) / 16_000
    voice = 0.3 * torch.sin(2 * torch.pi * 180 * seconds) * (torch.sin(2 * torch.pi * 3 * seconds) > 0)
    heard, silent = (
        torch.stack(encoder.encoder.encode_audio(sound[None, None], 16_000)["encoded_audio_all_layers"])[:, 0].float()
        for sound in (voice, torch.zeros(16_000))
    )
    assert heard.shape == (13, 49, 768)
    assert torch.isfinite(heard).all()
    assert torch.isfinite(silent).all()
    assert ((heard[1:] - heard[:-1]).std((1, 2)) > 0.1).all(), "every layer does something"
    assert ((heard - silent).std((1, 2)) > 0.1).all(), "a voice is not silence, on any layer"
    assert (heard.diff(dim=1).std((1, 2)) > 0.1).all(), "what is heard changes in time, on every layer"


def test_one_lora_file_serves_both_models(tiny, caplog):
    """demo/tiny_nodes gives each the tensors of its width; given the others, no weight of a model would change."""
    import comfy.sd

    from demo.tiny_nodes.lora import of_width

    weights = load(tiny.files[tiny.names.STEP_LORA])
    for name, width, count in ((tiny.names.MODEL, 640, 2 * 23), (tiny.avatar.MODEL, 128, 5 * 23)):
        model = comfy.sd.load_diffusion_model(str(tiny.files[name]))
        assert model.model.diffusion_model.dim == width
        with caplog.at_level(logging.WARNING):
            patched, _ = comfy.sd.load_lora_for_models(model, None, of_width(weights, width), 1.0, 1.0)
            key = "diffusion_model.blocks.1.self_attn.q.weight"
            changed = patched.patch_weight_to_device(key, return_weight=True)
        assert not torch.equal(changed, model.get_model_object(key))
        assert len(patched.patches) > count
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_the_same_seed_gives_the_same_bytes(tiny, tmp_path):
    again = tiny.names.write_tiny_multitalk(tmp_path)
    for name in (tiny.names.MODEL, tiny.names.PATCH, tiny.names.AUDIO_ENCODER):
        assert again[name].read_bytes() == tiny.files[name].read_bytes()
