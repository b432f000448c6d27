"""Names and shapes of the tensors of a tiny Wan2.1 I2V, its LoRA, a MultiTalk patch and a wav2vec2 base.

Core reads some sizes from the files and fixes the others. Wan's heads are dim / 128 and the patch's always 40, with
rotary embedding in each: 640 is the least that both divide. The patch has 40 blocks and wav2vec2 base one size only.
"""

from .tiny_wan_shapes import CLIP_WIDTH, RANK, TEXT_WIDTH, Shapes

DIM, FFN, LAYERS = 640, 256, 2
PATCH_BLOCKS, PATCH_WIDTH, PATCH_INNER = 40, 32, 16  # width of an audio token, and of the projection's middle
WINDOW, WINDOW_LATER, AUDIO_TOKENS = 5, 8, 32  # frames of sound a latent frame sees: the first, the later ones
SOUND_WIDTH, SOUND_FFN, SOUND_LAYERS, SOUND_CONV = 768, 3072, 12, 512
SOUND_KERNELS = (10, 3, 3, 3, 3, 2, 2)
POSITION_KERNEL, POSITION_GROUPS = 128, 16


def with_biases(layers: Shapes) -> Shapes:
    """`name` to `name.weight` of that shape and `name.bias` of its first axis."""
    both = {f"{name}.weight": shape for name, shape in layers.items()}
    return both | {f"{name}.bias": shape[:1] for name, shape in layers.items()}


def i2v_shapes() -> Shapes:
    """Wan2.1 I2V as core reads it: 36 channels in (latent, mask, image), and img_emb for CLIP vision's 257 tokens."""
    shapes: Shapes = {
        "patch_embedding": (DIM, 36, 1, 2, 2),
        "text_embedding.0": (DIM, TEXT_WIDTH),
        "text_embedding.2": (DIM, DIM),
        "time_embedding.0": (DIM, 256),
        "time_embedding.2": (DIM, DIM),
        "time_projection.1": (6 * DIM, DIM),
        "head.head": (64, DIM),
        "img_emb.proj.0": (CLIP_WIDTH,),
        "img_emb.proj.1": (CLIP_WIDTH, CLIP_WIDTH),
        "img_emb.proj.3": (DIM, CLIP_WIDTH),
        "img_emb.proj.4": (DIM,),
    }
    for block in range(LAYERS):
        shapes |= {f"blocks.{block}.{name}": shape for name, shape in _block_layers().items()}
    result = with_biases(shapes) | {"head.modulation": (1, 2, DIM)}
    norms = ("self_attn.norm_q", "self_attn.norm_k", "cross_attn.norm_q", "cross_attn.norm_k", "cross_attn.norm_k_img")
    for block in range(LAYERS):
        result[f"blocks.{block}.modulation"] = (1, 6, DIM)
        result |= {f"blocks.{block}.{name}.weight": (DIM,) for name in norms}
    return result


def _block_layers() -> Shapes:
    attention = [f"self_attn.{n}" for n in "qkvo"] + [f"cross_attn.{n}" for n in ("q", "k", "v", "o", "k_img", "v_img")]
    layers: Shapes = dict.fromkeys(attention, (DIM, DIM))
    return layers | {"norm3": (DIM,), "ffn.0": (FFN, DIM), "ffn.2": (DIM, FFN)}


def i2v_lora_shapes() -> Shapes:
    """As LightX2V's file for Wan2.1: lora_down and lora_up on the linear layers, differences of biases and norms."""
    shapes: Shapes = {}
    for block in range(LAYERS):
        for layer, shape in _block_layers().items():
            name = f"diffusion_model.blocks.{block}.{layer}"
            if len(shape) == 1:
                shapes[f"{name}.diff"] = shape
            else:
                shapes |= {f"{name}.lora_down.weight": (RANK, shape[1]), f"{name}.lora_up.weight": (shape[0], RANK)}
            shapes[f"{name}.diff_b"] = shape[:1]
    return shapes


def patch_shapes() -> Shapes:
    """MultiTalk's patch as core reads it: widths from the file, 40 blocks of 40 heads whatever it holds."""
    sound = SOUND_LAYERS * SOUND_WIDTH
    layers: Shapes = {
        "audio_proj.proj1": (PATCH_INNER, WINDOW * sound),
        "audio_proj.proj1_vf": (PATCH_INNER, WINDOW_LATER * sound),
        "audio_proj.proj2": (PATCH_INNER, PATCH_INNER),
        "audio_proj.proj3": (AUDIO_TOKENS * PATCH_WIDTH, PATCH_INNER),
        "audio_proj.norm": (PATCH_WIDTH,),
    }
    for block in range(PATCH_BLOCKS):
        attention = f"blocks.{block}.audio_cross_attn"
        layers |= {
            f"{attention}.q_linear": (DIM, DIM),
            f"{attention}.proj": (DIM, DIM),
            f"{attention}.kv_linear": (2 * DIM, PATCH_WIDTH),
            f"blocks.{block}.norm_x": (DIM,),
        }
    return with_biases(layers)


def wav2vec2_shapes() -> Shapes:
    """wav2vec2 base under the published names: no biases in the convolutions, one norm, in the first of them."""
    layers: Shapes = {
        "feature_extractor.conv_layers.0.layer_norm": (SOUND_CONV,),
        "feature_projection.layer_norm": (SOUND_CONV,),
        "feature_projection.projection": (SOUND_WIDTH, SOUND_CONV),
        "encoder.layer_norm": (SOUND_WIDTH,),
    }
    for number in range(SOUND_LAYERS):
        layer = f"encoder.layers.{number}"
        layers |= {f"{layer}.attention.{name}_proj": (SOUND_WIDTH, SOUND_WIDTH) for name in ("q", "k", "v", "out")}
        layers |= {f"{layer}.{name}": (SOUND_WIDTH,) for name in ("layer_norm", "final_layer_norm")}
        layers[f"{layer}.feed_forward.intermediate_dense"] = (SOUND_FFN, SOUND_WIDTH)
        layers[f"{layer}.feed_forward.output_dense"] = (SOUND_WIDTH, SOUND_FFN)
    shapes = with_biases(layers)
    for number, kernel in enumerate(SOUND_KERNELS):
        channels = SOUND_CONV if number else 1
        shapes[f"feature_extractor.conv_layers.{number}.conv.weight"] = (SOUND_CONV, channels, kernel)
    position = "encoder.pos_conv_embed.conv"
    shapes[f"{position}.weight_g"] = (1, 1, POSITION_KERNEL)
    shapes[f"{position}.weight_v"] = (SOUND_WIDTH, SOUND_WIDTH // POSITION_GROUPS, POSITION_KERNEL)
    shapes[f"{position}.bias"] = (SOUND_WIDTH,)
    shapes["masked_spec_embed"] = (SOUND_WIDTH,)
    return {f"wav2vec2.{name}": shape for name, shape in shapes.items()}
