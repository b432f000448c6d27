"""Names, types and shapes of the true weight files, as core builds the models. Run where ComfyUI can be imported.

Every function gives {tensor name: (type as safetensors spells it, shape)}; nothing is allocated. Byte counts to hold
them to are those of the published files (see docs/licences.md for the files):

    Wan2.2 I2V fp8_scaled, one expert   14 294 742 832   exact: see `wan_fp8_scaled`
    LightX2V 4-step LoRA for it          1 226 977 424   within 3 kB
    svd_xt                               9 559 625 980   less what the graph never reads: see `svd_xt`
    umt5_xxl fp8_scaled                  6 735 906 897   exact but for the tokenizer (4.5 MB), which is another
    Wan2.1 I2V 480p fp8_scaled          16 401 356 938   within 2 kB
    InfiniteTalk's patch, multi, fp16    5 124 439 112   within 1 kB; taken for MultiTalk's own, of unknown format
    LightX2V LoRA for Wan2.1 I2V           738 005 744   2.7 % less: without what it says of biases and norms
    wav2vec2 chinese base, fp16            190 115 368   0.7 % less
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch

Shapes = dict[str, tuple[str, tuple[int, ...]]]

WAN = {"in_dim": 36, "dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}
LORA_RANK = 64
SVD_UNET = {
    "image_size": 32,
    "in_channels": 8,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "num_head_channels": 64,
    "use_linear_in_transformer": True,
    "context_dim": 1024,
    "adm_in_channels": 768,
    "num_classes": "sequential",
    "use_spatial_transformer": True,
    "extra_ff_mix_layer": True,
    "use_spatial_context": True,
    "merge_strategy": "learned_with_images",
    "merge_factor": 0.0,
    "video_kernel_size": [3, 1, 1],
    "use_temporal_resblock": True,
    "use_temporal_attention": True,
    "disable_temporal_crossattention": False,
    "legacy": False,
}
"""What core v0.33.0 reads out of svd_xt.safetensors; but for use_checkpoint, which is for training."""


def built(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """A module without memory."""
    with torch.device("meta"):
        return build()


def plain(module: torch.nn.Module, kind: str, prefix: str = "") -> Shapes:
    """A module's state, every tensor of one type."""
    return {prefix + name: (kind, tuple(value.shape)) for name, value in module.state_dict().items()}


def fp8_scaled(module: torch.nn.Module, kind: str = "F16", input_scale: bool = True) -> Shapes:
    """A module's state as core's older fp8_scaled layout has it: linears fp8 with a scale, all else `kind`.

    The empty tensor `scaled_fp8` is what core knows the layout by; with two elements in it core would multiply in full
    precision. `input_scale`: a scale for what goes into each linear; core drops those that are 1.
    """
    linears = {name for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)}
    shapes: Shapes = {"scaled_fp8": ("F8_E4M3", (0,))}
    for name, value in module.state_dict().items():
        layer, _, parameter = name.rpartition(".")
        if parameter != "weight" or layer not in linears:
            shapes[name] = (kind, tuple(value.shape))
            continue
        shapes |= {name: ("F8_E4M3", tuple(value.shape)), f"{layer}.scale_weight": ("F32", ())}
        if input_scale:
            shapes[f"{layer}.scale_input"] = ("F32", ())
    return shapes


def wan_fp8_scaled(**changes: int) -> Shapes:
    """One expert of Wan2.2 I2V A14B. Every linear layer is fp8 with two scales and all else is fp16: only so does the
    file, header and all, come out at the published number of bytes."""
    from comfy.ldm.wan.model import WanModel
    from comfy.ops import disable_weight_init

    config = {**WAN, "model_type": "t2v", "text_dim": 4096, "out_dim": 16, **changes}
    return fp8_scaled(built(lambda: WanModel(operations=disable_weight_init, **config)))


def wan_i2v_fp8_scaled(**changes: int) -> Shapes:
    """Wan2.1 I2V 14B: with a second cross attention, to the picture; the linears' inputs have no scale."""
    from comfy.ldm.wan.model import WanModel
    from comfy.ops import disable_weight_init

    config = {**WAN, "model_type": "i2v", "text_dim": 4096, "out_dim": 16, **changes}
    return fp8_scaled(built(lambda: WanModel(operations=disable_weight_init, **config)), input_scale=False)


def multitalk_patch() -> Shapes:
    """MultiTalk's layers for Wan 14B: fp16, the projection of the sound and the attention's biases fp32."""
    from comfy.ops import disable_weight_init
    from comfy_extras.nodes_model_patch import MultiTalkModelPatch

    exact = ("audio_proj.", "q_linear.bias", "kv_linear.bias", "proj.bias")
    shapes = plain(built(lambda: MultiTalkModelPatch(operations=disable_weight_init)), "F16")
    return shapes | {name: ("F32", shape) for name, (_, shape) in shapes.items() if any(part in name for part in exact)}


def wav2vec2_base() -> Shapes:
    """wav2vec2 base as core builds it for a file 768 wide, fp16."""
    from comfy.audio_encoders.wav2vec2 import Wav2Vec2Model
    from comfy.ops import disable_weight_init

    sizes = {"embed_dim": 768, "num_heads": 12, "num_layers": 12}
    kind = dict.fromkeys(("conv_norm", "conv_bias", "do_normalize", "do_stable_layer_norm"), False)
    return plain(built(lambda: Wav2Vec2Model(**sizes, **kind, operations=disable_weight_init)), "F16")


def wan_animate(**changes: int) -> Shapes:
    """Wan2.2-Animate-14B, bf16."""
    from comfy.ldm.wan.model_animate import AnimateWanModel
    from comfy.ops import disable_weight_init

    return plain(built(lambda: AnimateWanModel(operations=disable_weight_init, **{**WAN, **changes})), "BF16")


def wan_linears(config: dict[str, int], picture: bool = False) -> dict[str, tuple[int, int]]:
    """{layer: (inputs, outputs)} of every linear layer of the blocks; picture: with the attention to it."""
    dim, ffn = config["dim"], config["ffn_dim"]
    block = {f"{a}.{p}": (dim, dim) for a in ("self_attn", "cross_attn") for p in "qkvo"}
    block |= {f"cross_attn.{p}_img": (dim, dim) for p in "kv" if picture}
    block |= {"ffn.0": (dim, ffn), "ffn.2": (ffn, dim)}
    return {f"blocks.{layer}.{name}": io for layer in range(config["num_layers"]) for name, io in block.items()}


def wan_lora(
    kind: str = "F32",
    down_up: tuple[str, str] = ("lora_down", "lora_up"),
    alpha: bool = True,
    picture: bool = False,
    **changes: int,
) -> Shapes:
    """A LoRA over the blocks; as it stands, LightX2V's 4-step files for Wan2.2."""
    shapes: Shapes = {}
    for layer, (inside, outside) in wan_linears({**WAN, **changes}, picture).items():
        key = f"diffusion_model.{layer}"
        shapes[f"{key}.{down_up[0]}.weight"] = (kind, (LORA_RANK, inside))
        shapes[f"{key}.{down_up[1]}.weight"] = (kind, (outside, LORA_RANK))
        if alpha:
            shapes[f"{key}.alpha"] = (kind, ())
    return shapes


def wan_vae() -> Shapes:
    """The Wan 2.1 VAE, width 96, bf16."""
    from comfy.ldm.wan.vae import WanVAE

    return plain(built(lambda: WanVAE(dim=96, z_dim=16, temperal_downsample=[False, True, True])), "BF16")


def clip_vision_h() -> Shapes:
    """CLIP ViT-H/14 under transformers' names, bf16."""
    import comfy.clip_vision
    from comfy.clip_model import CLIPVisionModelProjection
    from comfy.ops import disable_weight_init

    config = json.loads((Path(comfy.clip_vision.__file__).parent / "clip_vision_config_h.json").read_text())
    return plain(built(lambda: CLIPVisionModelProjection(config, torch.float32, "meta", disable_weight_init)), "BF16")


def umt5_xxl(layers: int = 24, words: int = 256384) -> Shapes:
    """The encoder of UMT5-XXL: linears fp8, all else fp16. Its tokenizer, a sentencepiece model, is not in here."""
    import comfy.text_encoders.wan
    from comfy.ops import disable_weight_init
    from comfy.text_encoders.t5 import T5

    folder = Path(comfy.text_encoders.wan.__file__).parent
    config = {**json.loads((folder / "umt5_config_xxl.json").read_text()), "num_layers": layers, "vocab_size": words}
    return fp8_scaled(built(lambda: T5(config, torch.float16, "meta", disable_weight_init)), input_scale=False)


def svd_unet(**changes: object) -> torch.nn.Module:
    """SVD XT's UNet without memory."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.ops import disable_weight_init

    return built(lambda: UNetModel(operations=disable_weight_init, **{**SVD_UNET, **changes}))


def svd_vae() -> torch.nn.Module:
    """SVD's VAE, with the decoder that looks along time, without memory."""
    from comfy.ldm.models.autoencoder import AutoencodingEngine

    sizes = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128}
    sizes |= {"ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    along_time = {"video_kernel_size": [3, 1, 1], "alpha": 0.0}
    encoder = "comfy.ldm.modules.diffusionmodules.model.Encoder"
    decoder = "comfy.ldm.modules.temporal_ae.VideoDecoder"
    return built(
        lambda: AutoencodingEngine(
            regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
            encoder_config={"target": encoder, "params": sizes},
            decoder_config={"target": decoder, "params": {**sizes, **along_time}},
        )
    )


def svd_xt() -> Shapes:
    """svd_xt.safetensors, fp32: UNet, VAE and CLIP ViT-H under OpenCLIP's names.

    0.54 GB of the published file that nothing reads are left out: OpenCLIP's word table and a second VAE encoder.
    """
    shapes = plain(svd_unet(), "F32", "model.diffusion_model.")
    shapes |= plain(svd_vae(), "F32", "first_stage_model.")
    return shapes | _open_clip_h("conditioner.embedders.0.open_clip.model.visual.")


def _open_clip_h(prefix: str, width: int = 1280, layers: int = 32) -> Shapes:
    shapes: dict[str, tuple[int, ...]] = {
        "class_embedding": (width,),
        "conv1.weight": (width, 3, 14, 14),
        "positional_embedding": (257, width),
        "proj": (width, 1024),
    }
    norms = ["ln_pre", "ln_post"]
    for layer in range(layers):
        block = f"transformer.resblocks.{layer}"
        norms += [f"{block}.ln_1", f"{block}.ln_2"]
        shapes |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        for name, (inside, outside) in {
            "attn.out_proj": (width, width),
            "mlp.c_fc": (width, 4 * width),
            "mlp.c_proj": (4 * width, width),
        }.items():
            shapes |= {f"{block}.{name}.weight": (outside, inside), f"{block}.{name}.bias": (outside,)}
    for norm in norms:
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return {prefix + name: ("F32", shape) for name, shape in shapes.items()}
