"""Names and shapes of the tensors of a tiny SVD-XT checkpoint: UNet, VAE with the temporal decoder, CLIP vision.

The published file's own names; its UNet is 320 channels wide, its VAE 128, its CLIP ViT-H 1280 and 32 layers deep.
"""

from .tiny_wan_shapes import Shapes

UNET_WIDTH, UNET_MULT = 64, (1, 2, 1, 1)  # core's heads are 64 wide
CONTEXT, ADDED = 1024, 3 * 256  # the CLIP embedding; fps, motion bucket and noise augmentation of 256 each
SVD_LEVELS = (0, 1, 2)  # of the four levels those with attention, as published
TINY_LEVELS = (1, 2)  # without the widest, whose 9216 tokens take 12 of 14 s a step at 1024x576 on 2 cores
VAE_WIDTH, VAE_MULT = 32, (1, 1, 2, 2)  # 32 is the least: its norms have 32 groups
CLIP_WIDTH, CLIP_LAYERS, CLIP_FFN = 64, 2, 32  # 16 heads of 4; core reads the last layer but one
LATENT = 4

_UNET, _VAE, _CLIP = "model.diffusion_model", "first_stage_model", "conditioner.embedders.0.open_clip.model.visual"


def checkpoint_shapes(levels: tuple[int, ...] = TINY_LEVELS) -> Shapes:
    """Everything that core's ImageOnlyCheckpointLoader reads from the file; `levels` of the UNet have attention."""
    parts = {_UNET: unet_shapes(levels), _VAE: vae_shapes(), _CLIP: clip_shapes()}
    return {f"{prefix}.{name}": shape for prefix, shapes in parts.items() for name, shape in shapes.items()}


def _layer(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def unet_shapes(levels: tuple[int, ...]) -> Shapes:
    """Two residual blocks a level on the way down, three on the way up, behind each a transformer in `levels`."""
    width, time = UNET_WIDTH, 4 * UNET_WIDTH
    shapes = _layer("time_embed.0", time, width) | _layer("time_embed.2", time, time)
    shapes |= _layer("label_emb.0.0", time, ADDED) | _layer("label_emb.0.2", time, time)
    shapes |= _layer("input_blocks.0.0", width, 2 * LATENT, 3, 3)
    skips, channels, number = [width], width, 0
    for level, mult in enumerate(UNET_MULT):
        for _ in range(2):
            number, wide = number + 1, mult * width
            shapes |= _under(f"input_blocks.{number}.0", _unet_block(channels, wide))
            if level in levels:
                shapes |= _under(f"input_blocks.{number}.1", _transformer(wide))
            channels = wide
            skips.append(channels)
        if level + 1 < len(UNET_MULT):
            number += 1
            shapes |= _layer(f"input_blocks.{number}.0.op", channels, channels, 3, 3)
            skips.append(channels)
    shapes |= _under("middle_block.1", _transformer(channels))
    for place in (0, 2):
        shapes |= _under(f"middle_block.{place}", _unet_block(channels, channels))
    shapes |= _up_blocks(skips, channels, levels)
    return shapes | _layer("out.0", width) | _layer("out.2", LATENT, width, 3, 3)


def _up_blocks(skips: list[int], channels: int, levels: tuple[int, ...]) -> Shapes:
    shapes: Shapes = {}
    number = 0
    for level, mult in reversed(list(enumerate(UNET_MULT))):
        wide = mult * UNET_WIDTH
        for last in (False, False, True):
            block = f"output_blocks.{number}"
            shapes |= _under(f"{block}.0", _unet_block(channels + skips.pop(), wide))
            if level in levels:
                shapes |= _under(f"{block}.1", _transformer(wide))
            if last and level:
                place = 2 if level in levels else 1
                shapes |= _layer(f"{block}.{place}.conv", wide, wide, 3, 3)
            number, channels = number + 1, wide
    return shapes


def _unet_block(narrow: int, wide: int) -> Shapes:
    """A residual block in space and one in time, and what they are mixed by."""
    shapes = _residual("", narrow, wide, (3, 3)) | _residual("time_stack.", wide, wide, (3, 1, 1))
    if narrow != wide:
        shapes |= _layer("skip_connection", wide, narrow, 1, 1)
    return shapes | {"time_mixer.mix_factor": (1,)}


def _residual(prefix: str, narrow: int, wide: int, kernel: tuple[int, ...]) -> Shapes:
    return (
        _layer(f"{prefix}in_layers.0", narrow)
        | _layer(f"{prefix}in_layers.2", wide, narrow, *kernel)
        | _layer(f"{prefix}emb_layers.1", wide, 4 * UNET_WIDTH)
        | _layer(f"{prefix}out_layers.0", wide)
        | _layer(f"{prefix}out_layers.3", wide, wide, *kernel)
    )


def _transformer(width: int) -> Shapes:
    shapes = _layer("norm", width) | _layer("proj_in", width, width) | _layer("proj_out", width, width)
    shapes |= _layer("time_pos_embed.0", 4 * width, width) | _layer("time_pos_embed.2", width, 4 * width)
    shapes |= _under("transformer_blocks.0", _attention_block(width)) | {"time_mixer.mix_factor": (1,)}
    in_time = _attention_block(width) | _layer("norm_in", width) | _feed_forward("ff_in", width)
    return shapes | _under("time_stack.0", in_time)


def _attention_block(width: int) -> Shapes:
    shapes = _feed_forward("ff", width)
    for number, source in ((1, width), (2, CONTEXT)):
        name = f"attn{number}"
        shapes |= {f"{name}.to_q.weight": (width, width)} | _layer(f"{name}.to_out.0", width, width)
        shapes |= {f"{name}.to_{key}.weight": (width, source) for key in "kv"}
    for number in (1, 2, 3):
        shapes |= _layer(f"norm{number}", width)
    return shapes


def _feed_forward(name: str, width: int) -> Shapes:
    return _layer(f"{name}.net.0.proj", 8 * width, width) | _layer(f"{name}.net.2", width, 4 * width)


def vae_shapes() -> Shapes:
    """Stable Diffusion's encoder, and the decoder whose every block also looks along time."""
    widths = [VAE_WIDTH * mult for mult in VAE_MULT]
    deepest, top = widths[-1], len(widths) - 1
    shapes = _layer("encoder.conv_in", widths[0], 3, 3, 3) | _layer("encoder.norm_out", deepest)
    shapes |= _layer("encoder.conv_out", 2 * LATENT, deepest, 3, 3) | _layer("decoder.conv_in", deepest, LATENT, 3, 3)
    shapes |= _layer("decoder.norm_out", widths[0]) | _layer("decoder.conv_out", 3, widths[0], 3, 3)
    shapes |= _layer("decoder.conv_out.time_mix_conv", 3, 3, 3, 1, 1)
    channels = widths[0]
    for level, wide in enumerate(widths):
        for number in range(2):
            shapes |= _under(f"encoder.down.{level}.block.{number}", _vae_block(channels, wide))
            channels = wide
        if level < top:
            shapes |= _layer(f"encoder.down.{level}.downsample.conv", wide, wide, 3, 3)
    for level, wide in reversed(list(enumerate(widths))):
        for number in range(3):
            shapes |= _under(f"decoder.up.{level}.block.{number}", _vae_block(channels, wide) | _vae_time(wide))
            channels = wide
        if level:
            shapes |= _layer(f"decoder.up.{level}.upsample.conv", wide, wide, 3, 3)
    for part, in_time in (("encoder", {}), ("decoder", _vae_time(deepest))):
        for number in (1, 2):
            shapes |= _under(f"{part}.mid.block_{number}", _vae_block(deepest, deepest) | in_time)
        shapes |= _layer(f"{part}.mid.attn_1.norm", deepest)
        for name in ("q", "k", "v", "proj_out"):
            shapes |= _layer(f"{part}.mid.attn_1.{name}", deepest, deepest, 1, 1)
    return shapes


def _vae_block(narrow: int, wide: int) -> Shapes:
    shapes = _layer("norm1", narrow) | _layer("conv1", wide, narrow, 3, 3)
    shapes |= _layer("norm2", wide) | _layer("conv2", wide, wide, 3, 3)
    return shapes | (_layer("nin_shortcut", wide, narrow, 1, 1) if narrow != wide else {})


def _vae_time(width: int) -> Shapes:
    shapes = _layer("time_stack.in_layers.0", width) | _layer("time_stack.in_layers.2", width, width, 3, 1, 1)
    shapes |= _layer("time_stack.out_layers.0", width) | _layer("time_stack.out_layers.3", width, width, 3, 1, 1)
    return shapes | {"mix_factor": (1,)}


def clip_shapes() -> Shapes:
    """OpenCLIP's names of ViT-H/14 at 224 pixels: 257 tokens."""
    width = CLIP_WIDTH
    shapes = _layer("ln_pre", width) | _layer("ln_post", width)
    for number in range(CLIP_LAYERS):
        layer = f"transformer.resblocks.{number}"
        shapes |= _layer(f"{layer}.ln_1", width) | _layer(f"{layer}.ln_2", width)
        shapes |= {f"{layer}.attn.in_proj_weight": (3 * width, width), f"{layer}.attn.in_proj_bias": (3 * width,)}
        shapes |= _layer(f"{layer}.attn.out_proj", width, width)
        shapes |= _layer(f"{layer}.mlp.c_fc", CLIP_FFN, width) | _layer(f"{layer}.mlp.c_proj", width, CLIP_FFN)
    return shapes | {
        "class_embedding": (width,),
        "conv1.weight": (width, 3, 14, 14),
        "positional_embedding": (257, width),
        "proj": (width, CONTEXT),
    }
