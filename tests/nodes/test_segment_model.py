"""Loading SAM2: the four published sizes, both layouts, and refusals that say what the file is.

The published files cannot be downloaded here, but their exact sizes in bytes are known. A safetensors file's size
follows from the names and shapes in it, so agreeing to the byte says that the names and shapes are theirs.
"""

import json
import math
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.segment import layouts
from custom_nodes.comfy_motion.segment.model import Sam2, _build_config
from demo.tiny_sam2 import write_tiny_sam2

# Meta's YAML files and README: heads of the first stage, windows, global attention blocks, background, parameters.
PUBLISHED = {
    "tiny": (1, [8, 4, 14, 7], [5, 7, 9], [7, 7], 38.9e6),
    "small": (1, [8, 4, 14, 7], [7, 10, 13], [7, 7], 46.0e6),
    "base_plus": (2, [8, 4, 14, 7], [12, 16, 20], [14, 14], 80.8e6),
    "large": (2, [8, 4, 16, 8], [23, 33, 43], [7, 7], 224.4e6),
}
V21_ONLY = {
    "temporal_positional_encoding_projection_layer.weight",
    "temporal_positional_encoding_projection_layer.bias",
    "occlusion_spatial_embedding_parameter",
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_sam2(tmp_path_factory.mktemp("sam2"))


def model_of(size: str, version: str = "2.1") -> torch.nn.Module:
    """The model of a published size, without memory for its weights."""
    from transformers import Sam2VideoModel

    hidden = layouts.BACKBONES[size]["hidden_size"]
    blocks = sum(layouts.BACKBONES[size]["blocks_per_stage"])
    shapes = {layouts.PATCHES: (hidden, 3, 7, 7), f"vision_encoder.backbone.blocks.{blocks - 1}.x": (1,)}
    shapes |= dict.fromkeys(V21_ONLY if version == "2.1" else (), (1,))
    with torch.device("meta"):
        return Sam2VideoModel(_build_config(layouts.detect_config(shapes)))


def shapes_of(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def file_size(shapes: dict[str, tuple[int, ...]], kind: str, item: int) -> int:
    """Bytes of a safetensors file with these tensors, written by torch ({"format": "pt"}) in order of their names."""
    header: dict = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        start, end = end, end + math.prod(shapes[name]) * item
        header[name] = {"dtype": kind, "shape": list(shapes[name]), "data_offsets": [start, end]}
    text = len(json.dumps(header, separators=(",", ":")))
    return 8 + -(-text // 8) * 8 + end


def attention(prefix: str) -> list[str]:
    return [f"{prefix}.{part}_proj" for part in ("q", "k", "v", "out")]


def meta_names(stages: list[int], version: str, memory_layers: int = 4) -> list[str]:
    """Every tensor name of Meta's own checkpoint (SAM2Base.state_dict), written down from their module tree."""
    blocks, first = sum(stages), {sum(stages[:stage]) for stage in (1, 2, 3)}
    alone = ["maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr"]
    alone += ["image_encoder.trunk.pos_embed", "image_encoder.trunk.pos_embed_window"]
    alone += ["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    alone += [f"sam_prompt_encoder.{name}.weight" for name in ("not_a_point_embed", "no_mask_embed")]
    alone += [f"sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4)]
    alone += [f"sam_mask_decoder.{name}.weight" for name in ("iou_token", "mask_tokens", "obj_score_token")]
    alone += [f"memory_encoder.fuser.layers.{i}.gamma" for i in range(2)]
    pairs = ["image_encoder.trunk.patch_embed.proj", "mask_downsample", "memory_attention.norm"]
    for i in range(blocks):
        parts = ["norm1", "norm2", "attn.qkv", "attn.proj", "mlp.layers.0", "mlp.layers.1", *["proj"] * (i in first)]
        pairs += [f"image_encoder.trunk.blocks.{i}.{part}" for part in parts]
    pairs += [f"image_encoder.neck.convs.{i}.conv" for i in range(4)]
    for layer in (f"memory_attention.layers.{i}" for i in range(memory_layers)):
        pairs += attention(f"{layer}.self_attn") + attention(f"{layer}.cross_attn_image")
        pairs += [f"{layer}.{part}" for part in ("linear1", "linear2", "norm1", "norm2", "norm3")]
    pairs += [f"memory_encoder.mask_downsampler.encoder.{i}" for i in (0, 1, 3, 4, 6, 7, 9, 10, 12)]
    pairs += ["memory_encoder.pix_feat_proj", "memory_encoder.out_proj"]
    for i in range(2):
        pairs += [f"memory_encoder.fuser.layers.{i}.{part}" for part in ("dwconv", "norm", "pwconv1", "pwconv2")]
        layer = f"sam_mask_decoder.transformer.layers.{i}"
        for kind in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
            pairs += attention(f"{layer}.{kind}")
        pairs += [f"{layer}.{part}" for part in ("norm1", "norm2", "norm3", "norm4", "mlp.layers.0", "mlp.layers.1")]
    pairs += attention("sam_mask_decoder.transformer.final_attn_token_to_image")
    pairs += ["sam_mask_decoder.transformer.norm_final_attn", "sam_mask_decoder.conv_s0", "sam_mask_decoder.conv_s1"]
    pairs += [f"sam_mask_decoder.output_upscaling.{i}" for i in (0, 1, 3)]
    pairs += [f"sam_prompt_encoder.mask_downscaling.{i}" for i in (0, 1, 3, 4, 6)]
    heads = [f"sam_mask_decoder.output_hypernetworks_mlps.{i}" for i in range(4)]
    heads += ["sam_mask_decoder.iou_prediction_head", "sam_mask_decoder.pred_obj_score_head", "obj_ptr_proj"]
    pairs += [f"{head}.layers.{i}" for head in heads for i in range(3)]
    if version == "2.1":
        alone.append("no_obj_embed_spatial")
        pairs.append("obj_ptr_tpos_proj")
    return alone + [f"{name}.{kind}" for name in pairs for kind in ("weight", "bias")]


def to_meta(tensors: dict[str, torch.Tensor], stages: list[int], memory_layers: int) -> dict[str, torch.Tensor]:
    """transformers' tensors under Meta's names."""
    renamed = {}
    for name in meta_names(stages, "2.1" if tensors.keys() >= V21_ONLY else "2.0", memory_layers):
        if match := re.search(r"point_embeddings\.(\d)", name):
            index = int(match[1])
            renamed[name] = tensors["prompt_encoder.point_embed.weight"][index : index + 1].clone()
        else:
            renamed[name] = tensors[next(iter(layouts.from_meta({name: torch.empty(0)})))]
    return renamed


@pytest.mark.parametrize("size", PUBLISHED)
def test_a_size_told_from_shapes_is_the_published_one(size):
    model = model_of(size)
    config = model.config.vision_config.backbone_config
    heads, windows, blocks, background, parameters = PUBLISHED[size]
    assert config.num_attention_heads_per_stage[0] == heads
    assert config.window_size_per_stage == windows
    assert config.global_attention_blocks == blocks
    assert list(config.window_positional_embedding_background_size) == background
    assert sum(math.prod(p.shape) for p in model.parameters()) == pytest.approx(parameters, abs=0.1e6)


def test_the_large_file_of_transformers_has_the_published_size():
    """facebook/sam2.1-hiera-large/model.safetensors"""
    assert file_size(shapes_of(model_of("large")), "F32", 4) == 897897416


@pytest.mark.parametrize(
    ("size", "version", "kind", "item", "published"),
    [
        ("base_plus", "2.0", "F32", 4, 323407992),
        ("base_plus", "2.1", "F32", 4, 323474320),
        ("base_plus", "2.1", "F16", 2, 161773292),
        ("small", "2.1", "F16", 2, 92181820),
    ],
)
def test_files_with_metas_names_are_renamed_and_have_the_published_size(size, version, kind, item, published):
    """Kijai/sam2-safetensors"""
    model = model_of(size, version)
    meta = to_meta(model.state_dict(), layouts.BACKBONES[size]["blocks_per_stage"], 4)
    assert file_size({name: tuple(tensor.shape) for name, tensor in meta.items()}, kind, item) == published
    renamed = layouts.from_meta(meta)
    assert {name: tuple(tensor.shape) for name, tensor in renamed.items()} == shapes_of(model)
    detected = layouts.detect_config({name: tuple(tensor.shape) for name, tensor in renamed.items()})
    assert detected["enable_occlusion_spatial_embedding"] == (version == "2.1")


@pytest.mark.parametrize(
    ("meta", "ours"),
    [
        ("sam_mask_decoder.output_upscaling.3.weight", "mask_decoder.upscale_conv2.weight"),
        ("sam_mask_decoder.iou_prediction_head.layers.2.bias", "mask_decoder.iou_prediction_head.proj_out.bias"),
        (
            "sam_mask_decoder.output_hypernetworks_mlps.3.layers.1.bias",
            "mask_decoder.output_hypernetworks_mlps.3.layers.0.bias",
        ),
        (
            "sam_mask_decoder.transformer.layers.1.cross_attn_token_to_image.out_proj.weight",
            "mask_decoder.transformer.layers.1.cross_attn_token_to_image.o_proj.weight",
        ),
        ("memory_encoder.mask_downsampler.encoder.10.bias", "memory_encoder.mask_downsampler.layers.3.layer_norm.bias"),
        ("memory_encoder.mask_downsampler.encoder.3.bias", "memory_encoder.mask_downsampler.layers.1.conv.bias"),
        ("memory_encoder.fuser.layers.0.gamma", "memory_encoder.memory_fuser.layers.0.scale"),
        ("image_encoder.trunk.blocks.7.mlp.layers.1.weight", "vision_encoder.backbone.blocks.7.mlp.proj_out.weight"),
        ("sam_prompt_encoder.mask_downscaling.4.weight", "prompt_encoder.mask_embed.layer_norm2.weight"),
        ("obj_ptr_proj.layers.0.weight", "object_pointer_proj.proj_in.weight"),
    ],
)
def test_names_that_a_mistake_could_swap_unnoticed(meta, ours):
    assert list(layouts.from_meta({meta: torch.empty(1)})) == [ours]


def test_metas_layout_loads_to_the_same_weights(tiny, tmp_path):
    tensors = load_file(tiny)
    path = tmp_path / "meta.safetensors"
    save_file(to_meta(tensors, [1, 1, 2, 1], memory_layers=2), path)
    path.with_suffix(".json").write_text(tiny.with_suffix(".json").read_text())
    loaded = Sam2.load(path, "fp32").model.state_dict()
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_the_json_beside_the_file_decides(tmp_path):
    sam2 = Sam2.load(write_tiny_sam2(tmp_path, image_size=64), "bf16")
    assert sam2.image_size == sam2.processor.target_size == 64
    assert sam2.model.prompt_encoder.input_image_size == 64
    assert sam2.dtype == sam2.model.memory_attention.layer_norm.weight.dtype == torch.bfloat16
    assert sam2.model.mask_decoder.config.mlp_dim == 256  # transformers 5.17 loses the mask decoder's own facts
    assert not sam2.model.training


def test_the_tiny_model_is_the_same_every_time(tiny, tmp_path):
    again = write_tiny_sam2(tmp_path)
    assert again.read_bytes() == tiny.read_bytes()


def refusal(path) -> str:
    with pytest.raises(MotionError) as caught:
        Sam2.load(path)
    assert caught.value.code == "model_file"
    assert path.name in caught.value.message
    assert "sam2.1-hiera-large" in caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lora_unet_down.alpha", "a LoRA"),
        ("detector.backbone.weight", "a SAM 3"),
        ("vision_encoder.layers.0.attn.qkv.weight", "first generation SAM"),
        ("something.else", "1 tensors, the first named something.else"),
        (layouts.PATCHES, "no known size"),
    ],
)
def test_another_model_is_refused_by_what_it_is(tmp_path, name, what):
    path = tmp_path / "model.safetensors"
    save_file({name: torch.zeros(2, 2)}, path)
    assert what in refusal(path)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    path = tmp_path / "page.safetensors"
    path.write_text("<html>Not found</html>")
    assert "cannot be read as safetensors" in refusal(path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda t: t.pop("no_memory_embedding"), "1 missing (no_memory_embedding)"),
        (lambda t: t.update(extra=torch.zeros(1)), "1 unknown (extra)"),
        (lambda t: t.update(no_object_pointer=torch.zeros(1, 3)), "1 of another shape (no_object_pointer)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tiny, tmp_path, change, what):
    tensors = load_file(tiny)
    change(tensors)
    path = tmp_path / tiny.name
    save_file(tensors, path)
    path.with_suffix(".json").write_text(tiny.with_suffix(".json").read_text())
    assert what in refusal(path)


@pytest.mark.parametrize(
    ("text", "what"), [("{", "not usable"), ('{"model_type": "sam3_video"}', "'sam3_video'"), ("[]", "not usable")]
)
def test_a_wrong_json_is_refused(tiny, tmp_path, text, what):
    path = tmp_path / tiny.name
    path.symlink_to(tiny)
    path.with_suffix(".json").write_text(text)
    assert what in refusal(path)
