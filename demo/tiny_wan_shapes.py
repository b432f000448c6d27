"""Names and shapes of the tensors of a tiny Wan2.2 Animate, its LoRAs, VAE, CLIP vision and text encoder.

Core reads some sizes from the files and fixes the others; what it reads is as small as it accepts.
"""

from collections.abc import Iterator
from itertools import pairwise

DIM, FFN, LAYERS = 128, 256, 5  # one head of 128; the first face block needs five layers
FACE, MOTION = 1024, 512  # fixed by core
CLIP_WIDTH, CLIP_LAYERS, CLIP_FFN, CLIP_PROJECTION = 1280, 2, 32, 8  # core reads the last layer but one
TEXT_WIDTH, TEXT_INNER, TEXT_HEADS, TEXT_FFN = 4096, 64, 1, 32
RANK = 2

Shapes = dict[str, tuple[int, ...]]


def _with_biases(layers: Shapes) -> Shapes:
    """`name` to `name.weight` of that shape and `name.bias` of its first axis."""
    shapes: Shapes = {}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def animate_shapes() -> Shapes:
    """Wan2.2 Animate as core reads it: dim from head.modulation, heads = dim / 128, layers by count."""
    shapes: Shapes = {
        "patch_embedding": (DIM, 36, 1, 2, 2),
        "pose_patch_embedding": (DIM, 16, 1, 2, 2),
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
        "face_adapter.fuser_blocks.0.linear1_kv": (2 * DIM, DIM),
        "face_adapter.fuser_blocks.0.linear1_q": (DIM, DIM),
        "face_adapter.fuser_blocks.0.linear2": (DIM, DIM),
        "face_encoder.conv1_local.conv": (4 * FACE, MOTION, 3),
        "face_encoder.conv2.conv": (FACE, FACE, 3),
        "face_encoder.conv3.conv": (FACE, FACE, 3),
        "face_encoder.out_proj": (DIM, FACE),
    }
    for block in range(LAYERS):
        shapes |= {f"blocks.{block}.{name}": shape for name, shape in _block_layers().items()}
    result = _with_biases(shapes)
    result |= {"head.modulation": (1, 2, DIM), "face_encoder.padding_tokens": (1, 1, 1, DIM)}
    for block in range(LAYERS):
        result[f"blocks.{block}.modulation"] = (1, 6, DIM)
        for name in (
            "self_attn.norm_q",
            "self_attn.norm_k",
            "cross_attn.norm_q",
            "cross_attn.norm_k",
            "cross_attn.norm_k_img",
        ):
            result[f"blocks.{block}.{name}.weight"] = (DIM,)
    result |= {f"face_adapter.fuser_blocks.0.{name}.weight": (128,) for name in ("q_norm", "k_norm")}
    return result | motion_encoder_shapes()


def _block_layers() -> Shapes:
    attention = [f"self_attn.{n}" for n in "qkvo"] + [f"cross_attn.{n}" for n in ("q", "k", "v", "o", "k_img", "v_img")]
    layers: Shapes = {"norm3": (DIM,), "ffn.0": (FFN, DIM), "ffn.2": (DIM, FFN)}
    for name in attention:
        layers[name] = (DIM, DIM)
    return layers


def motion_encoder_shapes() -> Shapes:
    """The encoder of 512x512 faces; all sizes are core's."""
    net = "motion_encoder.enc.net_app.convs"
    shapes: Shapes = {f"{net}.0.0.weight": (32, 3, 1, 1), f"{net}.0.1.bias": (1, 32, 1, 1)}
    widths = [32, 64, 128, 256, 512, 512, 512, 512]
    for number, (narrow, wide) in enumerate(pairwise(widths), start=1):
        block = f"{net}.{number}"
        shapes |= {
            f"{block}.conv1.0.weight": (narrow, narrow, 3, 3),
            f"{block}.conv1.1.bias": (1, narrow, 1, 1),
            f"{block}.conv2.0.kernel": (4, 4),
            f"{block}.conv2.1.weight": (wide, narrow, 3, 3),
            f"{block}.conv2.2.bias": (1, wide, 1, 1),
            f"{block}.skip.0.kernel": (4, 4),
            f"{block}.skip.1.weight": (wide, narrow, 1, 1),
        }
    shapes[f"{net}.8.weight"] = (MOTION, 512, 4, 4)
    for number in range(5):
        rows = 20 if number == 4 else MOTION
        shapes |= {
            f"motion_encoder.enc.fc.{number}.weight": (rows, MOTION),
            f"motion_encoder.enc.fc.{number}.bias": (rows,),
        }
    return shapes | {"motion_encoder.dec.direction.weight": (MOTION, 20)}


def step_lora_shapes() -> Shapes:
    """As LightX2V's files: lora_down and lora_up on the linear layers, differences of biases and norms."""
    shapes: Shapes = {}
    for name, shape in _lora_targets():
        if len(shape) == 1:
            shapes |= {f"{name}.diff": shape, f"{name}.diff_b": shape}
        else:
            shapes |= {f"{name}.lora_down.weight": (RANK, shape[1]), f"{name}.lora_up.weight": (shape[0], RANK)}
            shapes[f"{name}.diff_b"] = shape[:1]
    return shapes


def relight_lora_shapes() -> Shapes:
    """As the relight LoRA's file: lora_A and lora_B on the linear layers."""
    shapes: Shapes = {}
    for name, shape in _lora_targets():
        if len(shape) == 2:
            shapes |= {f"{name}.lora_A.weight": (RANK, shape[1]), f"{name}.lora_B.weight": (shape[0], RANK)}
    return shapes


def _lora_targets() -> Iterator[tuple[str, tuple[int, ...]]]:
    for block in range(LAYERS):
        for name, shape in _block_layers().items():
            yield f"diffusion_model.blocks.{block}.{name}", shape


def clip_vision_shapes() -> Shapes:
    """CLIP ViT-H's names and width (Wan reads 257 tokens of 1280) with two narrow layers."""
    vision = "vision_model"
    layers: Shapes = {f"{vision}.{name}": (CLIP_WIDTH,) for name in ("pre_layrnorm", "post_layernorm")}
    for number in range(CLIP_LAYERS):
        layer = f"{vision}.encoder.layers.{number}"
        layers |= {f"{layer}.self_attn.{name}_proj": (CLIP_WIDTH, CLIP_WIDTH) for name in ("q", "k", "v", "out")}
        layers |= {f"{layer}.layer_norm{n}": (CLIP_WIDTH,) for n in (1, 2)}
        layers |= {f"{layer}.mlp.fc1": (CLIP_FFN, CLIP_WIDTH), f"{layer}.mlp.fc2": (CLIP_WIDTH, CLIP_FFN)}
    return _with_biases(layers) | {
        f"{vision}.embeddings.class_embedding": (CLIP_WIDTH,),
        f"{vision}.embeddings.patch_embedding.weight": (CLIP_WIDTH, 3, 14, 14),
        f"{vision}.embeddings.position_embedding.weight": (257, CLIP_WIDTH),
        "visual_projection.weight": (CLIP_PROJECTION, CLIP_WIDTH),
    }


def text_encoder_shapes(vocabulary: int) -> Shapes:
    """UMT5-XXL's names and width with one layer of one head."""
    layer = "encoder.block.0.layer"
    return {
        "shared.weight": (vocabulary, TEXT_WIDTH),
        **{f"{layer}.0.SelfAttention.{name}.weight": (TEXT_INNER, TEXT_WIDTH) for name in "qkv"},
        f"{layer}.0.SelfAttention.o.weight": (TEXT_WIDTH, TEXT_INNER),
        f"{layer}.0.SelfAttention.relative_attention_bias.weight": (32, TEXT_HEADS),
        f"{layer}.0.layer_norm.weight": (TEXT_WIDTH,),
        f"{layer}.1.DenseReluDense.wi_0.weight": (TEXT_FFN, TEXT_WIDTH),
        f"{layer}.1.DenseReluDense.wi_1.weight": (TEXT_FFN, TEXT_WIDTH),
        f"{layer}.1.DenseReluDense.wo.weight": (TEXT_WIDTH, TEXT_FFN),
        f"{layer}.1.layer_norm.weight": (TEXT_WIDTH,),
        "encoder.final_layer_norm.weight": (TEXT_WIDTH,),
    }


def vae_shapes(width: int) -> Shapes:
    """The Wan 2.1 VAE; core takes its base width from decoder.head.0.gamma."""
    narrow, middle, wide = width, 2 * width, 4 * width
    convolutions: Shapes = {
        "encoder.conv1": (narrow, 3, 3, 3, 3),
        "encoder.head.2": (32, wide, 3, 3, 3),
        "conv1": (32, 32, 1, 1, 1),
        "conv2": (16, 16, 1, 1, 1),
        "decoder.conv1": (wide, 16, 3, 3, 3),
        "decoder.head.2": (3, narrow, 3, 3, 3),
        "encoder.downsamples.2.resample.1": (narrow, narrow, 3, 3),
        "encoder.downsamples.5.resample.1": (middle, middle, 3, 3),
        "encoder.downsamples.5.time_conv": (middle, middle, 3, 1, 1),
        "encoder.downsamples.8.resample.1": (wide, wide, 3, 3),
        "encoder.downsamples.8.time_conv": (wide, wide, 3, 1, 1),
        "decoder.upsamples.3.resample.1": (middle, wide, 3, 3),
        "decoder.upsamples.3.time_conv": (2 * wide, wide, 3, 1, 1),
        "decoder.upsamples.7.resample.1": (middle, wide, 3, 3),
        "decoder.upsamples.7.time_conv": (2 * wide, wide, 3, 1, 1),
        "decoder.upsamples.11.resample.1": (narrow, middle, 3, 3),
    }
    norms: Shapes = {"encoder.head.0": (wide, 1, 1, 1), "decoder.head.0": (narrow, 1, 1, 1)}
    blocks = {0: (narrow, narrow), 1: (narrow, narrow), 3: (narrow, middle), 4: (middle, middle), 6: (middle, wide)}
    blocks |= dict.fromkeys((7, 9, 10), (wide, wide))
    places = {f"encoder.downsamples.{number}": widths for number, widths in blocks.items()}
    blocks = dict.fromkeys((0, 1, 2, 5, 6), (wide, wide)) | {4: (middle, wide)}
    blocks |= dict.fromkeys((8, 9, 10), (middle, middle)) | dict.fromkeys((12, 13, 14), (narrow, narrow))
    places |= {f"decoder.upsamples.{number}": widths for number, widths in blocks.items()}
    for part in ("encoder", "decoder"):
        places |= {f"{part}.middle.{number}": (wide, wide) for number in (0, 2)}
        norms[f"{part}.middle.1.norm"] = (wide, 1, 1)
        convolutions[f"{part}.middle.1.to_qkv"] = (3 * wide, wide, 1, 1)
        convolutions[f"{part}.middle.1.proj"] = (wide, wide, 1, 1)
    for place, (before, after) in places.items():
        norms |= {f"{place}.residual.0": (before, 1, 1, 1), f"{place}.residual.3": (after, 1, 1, 1)}
        convolutions[f"{place}.residual.2"] = (after, before, 3, 3, 3)
        convolutions[f"{place}.residual.6"] = (after, after, 3, 3, 3)
        if before != after:
            convolutions[f"{place}.shortcut"] = (after, before, 1, 1, 1)
    return _with_biases(convolutions) | {f"{name}.gamma": shape for name, shape in norms.items()}
