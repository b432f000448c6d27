"""TEST ONLY: teaches core the small SVD checkpoint of demo/tiny_svd.py; see the package's docstring.

Core v0.33.0 knows SVD by a UNet of 320 channels, gives its VAE 128 and takes its CLIP vision for ViT-H by the number
of layers. Each of the three gets its small size when, and only when, the file holds it; every other file is loaded
as before.
"""

import comfy.clip_vision
import comfy.sd
import comfy.supported_models

_CLIP_LAYER = "{}transformer.resblocks.{}.ln_1.weight"
_TEMPORAL_DECODER = "decoder.mid.block_1.mix_factor"
_TINY_UNET, _VAE_WIDTH = 64, 128
_LEVELS = 4


class TinySVD(comfy.supported_models.SVD_img2vid):
    """Core's own class, known by the width of demo/tiny_svd.py, with attention where the file has it."""

    unet_config = dict(comfy.supported_models.SVD_img2vid.unet_config) | {"model_channels": _TINY_UNET}
    del unet_config["transformer_depth"]


def _vae_widths(weights: dict) -> list[int]:
    """Channels of the encoder's levels, widest picture first."""
    return [weights[f"encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(_LEVELS)]


def _small_engine(real, widths: list[int]):
    """`real` (core's AutoencodingEngine) with these widths in place of core's own."""

    def engine(encoder_config: dict, decoder_config: dict, **kwargs):
        small = {"ch": widths[0], "ch_mult": [width // widths[0] for width in widths]}
        configs = [{**config, "params": {**config["params"], **small}} for config in (encoder_config, decoder_config)]
        return real(encoder_config=configs[0], decoder_config=configs[1], **kwargs)

    return engine


def install() -> None:
    """Wraps core's loaders. Comes after the package's own wrapper of load_clipvision_from_sd, which it calls."""
    real_vision, real_init = comfy.clip_vision.load_clipvision_from_sd, comfy.sd.VAE.__init__

    def load_vision(sd, prefix="", convert_keys=False):
        layers = [_CLIP_LAYER.format(prefix, number) in sd for number in (0, 22)]
        if not convert_keys or layers != [True, False]:
            return real_vision(sd, prefix, convert_keys)
        named = comfy.clip_vision.convert_to_transformers(sd, prefix)
        mine = [name for name in named if name.startswith(("vision_model.", "visual_projection."))]
        return real_vision({name: named.pop(name) for name in mine})

    def init(self, sd=None, *args, **kwargs):
        widths = _vae_widths(sd) if sd and _TEMPORAL_DECODER in sd else [_VAE_WIDTH]
        if widths[0] >= _VAE_WIDTH:
            return real_init(self, sd, *args, **kwargs)
        real_engine = comfy.sd.AutoencodingEngine
        comfy.sd.AutoencodingEngine = _small_engine(real_engine, widths)
        try:
            return real_init(self, sd, *args, **kwargs)
        finally:
            comfy.sd.AutoencodingEngine = real_engine

    comfy.supported_models.models.append(TinySVD)
    comfy.clip_vision.load_clipvision_from_sd = load_vision
    comfy.sd.VAE.__init__ = init
