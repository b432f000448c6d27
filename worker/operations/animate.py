"""animate: SVD-XT makes a short video out of a picture; with a mask only its white part moves (seed 001).

The request is the contract's table (contracts.md). Its defaults stand here and nowhere else; a test holds the pinned
graph to them.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, model_validator

from worker.errors import JobError
from worker.finished import Expected
from worker.graph import Graph, NodeName, load_graph
from worker.media import ImageInfo
from worker.operations import fields
from worker.operations.base import WORKFLOWS, Bound, Info, Output, Results, Wanted, parse_model
from worker.operations.fields import Base64, Link, OwnStore, PictureFields, Seed
from worker.operations.shares import running, shares_of
from worker.settings import Settings

IMAGE: NodeName = ("Image", "LoadImage")
MASK: NodeName = ("Mask", "LoadImageMask")
IMAGE_TO_VIDEO: NodeName = ("Image to video", "SVD_img2vid_Conditioning")
AUGMENT: NodeName = ("Noise augmentation", "CMAugmentStart")
SAMPLER: NodeName = ("Sampler", "KSampler")
DECODE: NodeName = ("Decode video", "CMDecodeVideo")
COMPOSITE: NodeName = ("Composite", "CMCompositeMotion")
SAVE: NodeName = ("Save MP4", "CMSaveVideo")

LANDSCAPE, PORTRAIT = (1024, 576), (576, 1024)
"""Width and height in pixels: what SVD-XT was made for, and its twin."""
MAX_SIDE = 3840
MIN_SIDE = 64
"""Pixels, of the picture's shorter side and of the MP4's."""


class AnimateRequest(PictureFields):
    """`input` of an animate job. Sizes in pixels, the rate in frames a second."""

    mask_base64: Base64 | None = Field(
        None,
        repr=False,
        description="what may move, a picture of the same size as base64: white moves, black stays",
    )
    mask_url: Link | None = Field(None, description="or the http(s) URL of the mask; without a mask all may move")
    mask_minio_path: Link | None = Field(None, description="or the key of the mask in the worker's bucket")
    motion_bucket_id: int = Field(127, ge=1, le=255, description="how much moves; about 90 is a breath, 200 a lot")
    noise_aug_strength: float = Field(
        0.02, ge=0, le=1, description="noise on the picture before it is animated: 0 is faithful, more moves more"
    )
    num_frames: int = Field(25, ge=2, le=25, description="length of the video; the model was made for 25")
    fps: int = Field(6, ge=1, le=30, description="frames a second of the MP4; the model is told, too")
    num_inference_steps: int = Field(25, ge=1, le=100, description="sampling steps")
    guidance_scale: float = Field(
        2.5, ge=1, le=20, description="guidance of the last frame; it rises from 1 at the first"
    )
    seed: Seed = Field(default_factory=fields.random_seed, description="the same seed, the same video; absent: any")
    r2: OwnStore = None

    @model_validator(mode="after")
    def _together(self) -> "AnimateRequest":
        fields.one_of(self, "image")
        fields.one_of(self, "mask", required=False)
        return self

    @property
    def image_field(self) -> str:
        """The field that names the picture."""
        return fields.one_of(self, "image") or ""

    @property
    def mask_field(self) -> str | None:
        """The field that names the mask; None without one."""
        return fields.one_of(self, "mask", required=False)


class Animate:
    """The operation (see base.Operation)."""

    name = "animate"
    request: type[BaseModel] = AnimateRequest

    def __init__(self, graph: Graph | None = None):
        self.graphs: Mapping[str, Graph] = {"animate": graph or load_graph(WORKFLOWS / "animate.json")}

    def check(self) -> None:
        """The pinned graph has every node and input that any request may bind, with a mask and without."""
        infos = {role: ImageInfo(1920, 1080, "PNG", 1) for role in ("image", "mask")}
        for mask in ({}, {"mask_minio_path": "mask"}):
            request = AnimateRequest.model_validate({"image_minio_path": "picture", **mask})
            self.bind(request, {"image": "picture", "mask": "mask"}, infos, "check")

    def parse(self, job_input: Mapping[str, Any], settings: Settings) -> AnimateRequest:
        return parse_model(AnimateRequest, job_input)

    def graph_of(self, request: AnimateRequest) -> Graph:
        return self.graphs["animate"]

    def shares(self, request: AnimateRequest) -> dict[str, float]:
        return shares_of(self._graph(request).nodes, [SAVE[0]], _costs(request))

    def wanted(self, request: AnimateRequest) -> dict[str, Wanted]:
        wanted = {"image": Wanted(fields.source_of(request, request.image_field), "image", MIN_SIDE)}
        if request.mask_field:
            wanted["mask"] = Wanted(fields.source_of(request, request.mask_field), "image")
        return wanted

    def expected(self, request: AnimateRequest, infos: Mapping[str, Info]) -> Expected:
        image = fields.picture_info(infos, "image")
        if request.mask_field:
            mask = fields.picture_info(infos, "mask")
            if (mask.width, mask.height) != (image.width, image.height):
                seen = f"The mask has {mask.width}x{mask.height} pixels, the picture {image.width}x{image.height}."
                raise JobError("mask_mismatch", request.mask_field, seen)
        width, height = video_size(request, image)
        if min(width, height) < MIN_SIDE:
            seen = f"Of {image.width}x{image.height} pixels the MP4 would have {width}x{height}."
            raise JobError("picture_too_small", request.image_field, seen, "Crop it: it is too long for its width.")
        return Expected(width, height, float(request.fps), request.num_frames, has_audio=False)

    def bind(
        self, request: AnimateRequest, files: Mapping[str, str], infos: Mapping[str, Info], prompt_id: str
    ) -> Bound:
        image = fields.picture_info(infos, "image")
        processed = _size_inputs(processed_size(image.width, image.height))
        values: dict[NodeName, dict[str, Any]] = {
            IMAGE: {"image": files["image"]},
            IMAGE_TO_VIDEO: {
                **processed,
                "video_frames": request.num_frames,
                "motion_bucket_id": request.motion_bucket_id,
                "fps": request.fps,
            },
            AUGMENT: {**processed, "noise_aug_strength": float(request.noise_aug_strength), "seed": request.seed},
            SAMPLER: {
                "seed": request.seed,
                "steps": request.num_inference_steps,
                "cfg": float(request.guidance_scale),
            },
            DECODE: {"fps": float(request.fps)},
            # The frames' size, told beforehand, lets the node refuse a mask outside their part of the picture.
            COMPOSITE: {
                **_size_inputs(video_size(request, image)),
                **{f"frame_{side}": pixels for side, pixels in processed.items()},
            },
            SAVE: {"filename_prefix": f"{prompt_id}/animate"},
        }
        if request.mask_field:
            values[MASK] = {"image": files["mask"]}
        return Bound(running(self._graph(request).bind(values), [SAVE[0]]), self.shares(request))

    def outputs(self, request: AnimateRequest, job_id: str) -> dict[str, Output]:
        return {"video": Output(SAVE[0], "video", (f"animate/results/{job_id}.mp4",), "without_store")}

    def answer(self, request: AnimateRequest, results: Results) -> dict[str, Any]:
        video = results.files["video"][0]
        image = fields.picture_info(results.infos, "image")
        return {
            "output_url": video.url,
            "output_key": video.key,
            "video_base64": video.base64,
            "original_size": [image.width, image.height],
            "processed_size": list(processed_size(image.width, image.height)),
            "num_frames": request.num_frames,
            "fps": request.fps,
            "motion_bucket_id": request.motion_bucket_id,
            "processing_time_seconds": round(results.seconds, 3),
        }

    def field_of(self, code: str, title: str, request: AnimateRequest) -> str | None:
        if request.mask_field and (code in ("empty_mask", "mask_mismatch") or title == MASK[0]):
            return request.mask_field if code in {"empty_mask", "mask_mismatch", *fields.ABOUT_PICTURES} else None
        return request.image_field if code in fields.ABOUT_PICTURES else None

    def _graph(self, request: AnimateRequest) -> Graph:
        graph = self.graph_of(request)
        # Without a mask nothing stays still: no picture to lay the frames on, and no mask to load.
        return graph if request.mask_field else graph.without_link(COMPOSITE, "mask")


def processed_size(width: int, height: int) -> tuple[int, int]:
    """Width and height that SVD works at, for a picture of this size (pixels, after EXIF)."""
    return LANDSCAPE if width >= height else PORTRAIT


def composite_size(width: int, height: int) -> tuple[int, int]:
    """The MP4's size where the motion is laid on the picture: the picture's own, made even (H.264 in 4:2:0 needs it)
    by leaving a pixel out, and at most MAX_SIDE on its longer side in the same aspect."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    return _even(width * scale), _even(height * scale)


def video_size(request: AnimateRequest, image: ImageInfo) -> tuple[int, int]:
    """Width and height of the MP4: the composite's with a mask, else what SVD made."""
    size = composite_size if request.mask_field else processed_size
    return size(image.width, image.height)


def _even(pixels: float) -> int:
    # A float product just below a whole number is meant to be it.
    return max(2, int(pixels + 1e-6) // 2 * 2)


def _size_inputs(size: tuple[int, int]) -> dict[str, int]:
    return {"width": size[0], "height": size[1]}


def _costs(request: AnimateRequest) -> dict[str, float]:
    """{title: share}, in evaluations of the model for 25 frames: sampling is most of it."""
    part = request.num_frames / 25
    return {
        "SVD model": 2.0,
        IMAGE_TO_VIDEO[0]: 0.5,
        AUGMENT[0]: 0.5,
        SAMPLER[0]: 2 * request.num_inference_steps * part,
        DECODE[0]: 6.0 * part,
        COMPOSITE[0]: 0.2,
        SAVE[0]: 1.0 * part,
    }
