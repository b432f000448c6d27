"""TEST ONLY: teaches core to load the tiny CLIP vision and text encoder of demo/tiny_wan.py, the tiny SVD of
demo/tiny_svd.py (in svd.py), and one LoRA file for two tiny models (in lora.py); on demand it moves the tiny
SAM2's masks (in sam2.py). It has no nodes.

Core v0.33.0 knows the first two kinds of file by their number of layers and takes every size from a configuration of
its own. Linked into custom_nodes, this package hands core the small configuration when, and only when, a file holds
fewer layers than the real one; every other file is loaded as before. Never install it where pictures matter.
"""

import comfy.clip_vision
import comfy.sd

from . import lora, sam2, svd

_VISION_LAYER = "vision_model.encoder.layers.{}.layer_norm1.weight"
_TEXT_LAYER = "encoder.block.{}.layer.1.DenseReluDense.wi_1.weight"
_UMT5_WIDTH, _HEAD = 4096, 64

NODE_CLASS_MAPPINGS: dict = {}


def _vision_config(weights: dict) -> dict:
    """CLIP ViT-H's configuration with the sizes of these tensors."""
    layers = 0
    while _VISION_LAYER.format(layers) in weights:
        layers += 1
    return {
        "attention_dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": weights["vision_model.embeddings.class_embedding"].shape[0],
        "image_size": 224,
        "intermediate_size": weights["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "layer_norm_eps": 1e-5,
        "model_type": "clip_vision_model",
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": layers,
        "patch_size": 14,
        "projection_dim": weights["visual_projection.weight"].shape[0],
    }


def _is_tiny_text_encoder(weights: dict) -> bool:
    is_umt5 = _TEXT_LAYER.format(0) in weights and weights[_TEXT_LAYER.format(0)].shape[1] == _UMT5_WIDTH
    return is_umt5 and "spiece_model" in weights and _TEXT_LAYER.format(23) not in weights


def _text_config(weights: dict) -> dict:
    """What differs from UMT5-XXL's configuration in these tensors."""
    layers = 0
    while _TEXT_LAYER.format(layers) in weights:
        layers += 1
    inner = weights["encoder.block.0.layer.0.SelfAttention.q.weight"].shape[0]
    return {
        "d_ff": weights[_TEXT_LAYER.format(0)].shape[0],
        "num_heads": inner // _HEAD,
        "num_layers": layers,
        "vocab_size": weights["shared.weight"].shape[0],
    }


def _install() -> None:
    real_vision = comfy.clip_vision.load_clipvision_from_sd
    real_kind, real_text = comfy.sd.detect_te_model, comfy.sd.load_text_encoder_state_dicts

    def load_vision(sd, prefix="", convert_keys=False):
        tiny = _VISION_LAYER.format(0) in sd and _VISION_LAYER.format(22) not in sd
        if not tiny:
            return real_vision(sd, prefix, convert_keys)
        clip = comfy.clip_vision.ClipVisionModel(_vision_config(sd))
        missing, unexpected = clip.load_sd(sd)
        if missing or unexpected:
            raise ValueError(f"the tiny CLIP vision lacks {missing} and does not know {unexpected}")
        return clip

    def kind(sd):
        return comfy.sd.TEModel.T5_XXL if _is_tiny_text_encoder(sd) else real_kind(sd)

    def load_text(state_dicts, *args, model_options=None, **kwargs):
        options = dict(model_options or {})
        if len(state_dicts) == 1 and _is_tiny_text_encoder(state_dicts[0]):
            options["umt5xxl_model_config"] = _text_config(state_dicts[0])
        return real_text(state_dicts, *args, model_options=options, **kwargs)

    comfy.clip_vision.load_clipvision_from_sd = load_vision
    comfy.sd.detect_te_model = kind
    comfy.sd.load_text_encoder_state_dicts = load_text


_install()
svd.install()
lora.install()
sam2.install()
