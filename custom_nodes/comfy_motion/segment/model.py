"""SAM2 on transformers' Sam2VideoModel: loading a weight file, and where its weights live while it works.

One class for videos (track.py) and single images. transformers is imported when a model is loaded, not when the node
pack is: the import alone takes seconds.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import MotionError
from .layouts import describe, detect_config, from_meta, is_meta_layout

if TYPE_CHECKING:
    from transformers import Sam2Model, Sam2VideoConfig, Sam2VideoModel

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WANTED = (
    "Take model.safetensors of facebook/sam2.1-hiera-large from Hugging Face "
    "(or -tiny, -small, -base-plus), put it into models/sam2 and give it any name."
)
# Room core keeps free on the device while the model works: one 1024x1024 picture through hiera large, attention over
# 13 memory frames. In bytes.
WORKING_MEMORY = 2 << 30


class Sam2:
    """A loaded SAM2: the model, its processor (sizes, normalisation, prompts) and its place in memory.

    `model` is a transformers Sam2VideoModel in evaluation mode. Inside ComfyUI a ModelPatcher holds it, so that
    core's memory management moves it to the device when `ready` is called and off again when others need room.
    """

    def __init__(self, model: "Sam2VideoModel", name: str):
        from transformers import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor

        size = model.config.image_size
        self.image_size = size if isinstance(size, int) else size[0]
        self.name = name
        self.model = model.eval().requires_grad_(False)
        self.dtype = model.dtype
        square = {"height": self.image_size, "width": self.image_size}
        self.processor = Sam2VideoProcessor(
            image_processor=Sam2ImageProcessor(size=square), video_processor=Sam2VideoVideoProcessor(size=square)
        )
        self._patcher = _patcher(model)
        self._image_model: Sam2Model | None = None

    @classmethod
    def load(cls, path: Path | str, precision: str = "auto") -> "Sam2":
        """The SAM2 in a .safetensors file, in transformers' or Meta's layout.

        `precision`: fp32, bf16, fp16 or auto (bf16 where the GPU has it, else fp32). The configuration is that of
        `<name>.json` beside the file (a config.json of model type sam2_video) if there is one, else it is told from
        the tensors. Raises MotionError model_file when the file is no SAM2, saying what it is.
        """
        path = Path(path)
        shapes = _read_shapes(path)
        config = _read_config(path) or _build_config(detect_config(shapes))
        if config is None:
            raise MotionError("model_file", f"{path.name} is {describe(shapes)}, not a SAM2.", WANTED)
        dtype = _automatic() if precision == "auto" else PRECISIONS[precision]
        return cls(_load_model(path, config, dtype), path.name)

    def ready(self) -> torch.device:
        """Brings the weights to the device they work on and returns it."""
        if self._patcher is None:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        else:
            import comfy.model_management as management

            device = self._patcher.load_device
            # The modules are torch's own, which cannot compute from offloaded weights: all of it or nothing.
            management.load_models_gpu([self._patcher], memory_required=WORKING_MEMORY, force_full_load=True)
        # Moves nothing core has moved already; with --novram core leaves modules behind.
        torch.nn.Module.to(self.model, device)
        return device

    def image_model(self) -> "Sam2Model":
        """The same weights as transformers' Sam2Model, for single images. Call it after `ready`, every time."""
        if self._image_model is None:
            self._image_model = _as_image_model(self.model)
        # The one weight in no module of its own: whoever moves the model may put another tensor in its place.
        self._image_model.no_memory_embedding = self.model.no_memory_embedding
        return self._image_model


def _load_model(path: Path, config: "Sam2VideoConfig", dtype: torch.dtype) -> "Sam2VideoModel":
    """The model with the file's weights. Raises MotionError when a tensor is missing, left over or of another shape."""
    from safetensors.torch import load_file
    from transformers import Sam2VideoModel

    tensors = load_file(path)
    if is_meta_layout(tensors):
        tensors = from_meta(tensors)
    # from_pretrained, and not load_state_dict, because it alone builds the model without filling it with random
    # numbers first and still computes the buffers that are not in the file.
    loaded: Any = Sam2VideoModel.from_pretrained(
        None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
    )
    model, report = loaded
    wrong = {
        "missing": sorted(report["missing_keys"]),
        "unknown": sorted(report["unexpected_keys"]),
        "of another shape": sorted(name for name, *_ in report["mismatched_keys"]),
    }
    if any(wrong.values()):
        seen = "; ".join(f"{len(names)} {how} ({names[0]})" for how, names in wrong.items() if names)
        raise MotionError("model_file", f"{path.name} does not fit its SAM2 configuration: tensors {seen}.", WANTED)
    return model


def _as_image_model(video: "Sam2VideoModel") -> "Sam2Model":
    """A Sam2Model whose modules are the video model's own, not copies: the classes differ in name only.

    The image model is the part of the video model that looks at one picture: encoder, prompts, decoder.
    """
    from transformers import Sam2Config, Sam2Model

    facts = video.config.to_dict()
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    with torch.device("meta"):
        image: Any = Sam2Model(Sam2Config.from_dict({part: facts[part] for part in parts}))
    for name, _ in list(image.named_children()):
        setattr(image, name, getattr(video, name))
    return image.eval().requires_grad_(False)


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes in the file, under transformers' names, read from its header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise MotionError("model_file", f"{path.name} cannot be read as safetensors: {error}.", WANTED) from error
    if not is_meta_layout(shapes):
        return shapes
    renamed = from_meta({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    return {name: tuple(tensor.shape) for name, tensor in renamed.items()}


def _read_config(path: Path) -> "Sam2VideoConfig | None":
    """The configuration in `<name>.json` beside the file, or None if there is no such file."""
    file = path.with_suffix(".json")
    if not file.exists():
        return None
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        kind = facts.get("model_type")
        if kind != "sam2_video":
            raise ValueError(f"its model_type is {kind!r}, not 'sam2_video'")
        return _build_config(facts)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MotionError(
            "model_file", f"{file.name}, the configuration of {path.name}, is not usable: {error}.", WANTED
        ) from error


def _build_config(facts: dict[str, Any] | None) -> "Sam2VideoConfig | None":
    """transformers' configuration object for these facts; None for None."""
    if facts is None:
        return None
    from transformers import Sam2VideoConfig, Sam2VideoMaskDecoderConfig, Sam2VideoPromptEncoderConfig

    # Built here because transformers up to 5.17 makes a prompt encoder's configuration of the mask decoder's.
    parts = {"prompt_encoder_config": Sam2VideoPromptEncoderConfig, "mask_decoder_config": Sam2VideoMaskDecoderConfig}
    built = {name: kind.from_dict(facts.get(name) or {}) for name, kind in parts.items()}
    return Sam2VideoConfig.from_dict({**facts, **built})


def _automatic() -> torch.dtype:
    """bf16 where the device computes in it natively, else fp32."""
    try:
        import comfy.model_management as management
    except ImportError:
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    else:
        device = management.get_torch_device()
        fast = device.type == "cuda" and management.should_use_bf16(device)
    return torch.bfloat16 if fast else torch.float32


class SAM2Weights(torch.nn.Module):
    """What the ModelPatcher gets, and core's log names: it assigns `device`, which a transformers model refuses."""

    def __init__(self, sam2: "Sam2VideoModel"):
        super().__init__()
        self.sam2 = sam2


def _patcher(model: "Sam2VideoModel") -> Any | None:
    """Core's handle on the model inside ComfyUI; None outside."""
    try:
        import comfy.model_management as management
        from comfy.model_patcher import ModelPatcher
    except ImportError:
        return None
    return ModelPatcher(SAM2Weights(model), management.get_torch_device(), management.unet_offload_device())
