"""avatar: the person in a driving video is replaced by the person in a picture (seed 004).

The request is the contract's table (contracts.md); its defaults stand here and nowhere else, a test holds the
pinned graph to them.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, model_validator

from worker.errors import JobError
from worker.finished import Expected
from worker.graph import Graph, NodeName, Values, load_graph
from worker.media import VideoInfo
from worker.operations import fields
from worker.operations.base import WORKFLOWS, Bound, Info, Output, Results, Wanted, parse_model, refusal
from worker.operations.fields import Link
from worker.operations.shares import running, shares_of
from worker.settings import Settings
from worker.store import expires_at
from worker.timeline import exact_rate, frames_in_range

DRIVING: NodeName = ("Driving video", "LoadVideo")
PICTURE: NodeName = ("Reference image", "LoadImage")
LETTERBOX: NodeName = ("Letterbox reference", "CMLetterbox")
RESAMPLE: NodeName = ("Resample driving video", "CMResampleVideo")
DRAW: NodeName = ("Draw pose", "CMDrawPose")
PROMPT: NodeName = ("Prompt", "CMEncodedPrompt")
NEGATIVE: NodeName = ("Negative prompt", "CMEncodedPrompt")
STEPS: NodeName = ("Steps", "BasicScheduler")
RELIGHT: NodeName = ("Relight LoRA", "LoraLoaderModelOnly")
WINDOWS: NodeName = ("Animate in windows", "CMAnimateWindows")
SAVE: NodeName = ("Save MP4", "CMSaveVideo")

OF_PICTURE = {PICTURE[0], LETTERBOX[0], "Encode reference"}
"""Titles of the nodes that work on the picture."""
ABOUT_PICTURE = {"picture_too_small", "not_an_image"}
ABOUT_EITHER = {"no_person"}
ABOUT_DRIVING = {
    *("no_face", "empty_mask", "not_a_video", "video_unreadable", "video_too_short"),
    *("range_outside_video", "invalid_range"),
}
"""Error codes of nodes for which an input is to blame, by input."""

SHARES = {
    "Wan Animate model": 4.0,
    "Step-distilled LoRA": 1.0,
    "Relight LoRA": 1.0,
    "Text encoder": 1.0,
    "Prompt": 1.0,
    "Negative prompt": 0.5,
    "Resample driving video": 1.0,
    "Detect pose": 6.0,
    "Draw pose": 1.0,
    "Face crop": 1.0,
    "Track person": 8.0,
    "Grow mask": 0.5,
    "Background": 0.5,
    "Animate in windows": 68.0,
    "Save MP4": 2.0,
}
"""Shares of the time, in percent: sampling is most of it. Only the smoothness of the percentage depends on them."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MIN_PICTURE_SIDE = 128
"""Pixels. CLIP vision looks at 224; far below that there is no face left to keep."""


def _safe_id(value: str, info: ValidationInfo) -> str:
    # Ids are folders of the output key: one of only dots would be the folder itself or its parent.
    if not _ID.fullmatch(value) or not value.strip("."):
        raise refusal("invalid_id", f"`{info.field_name}` is {value[:80]!r}, which cannot be part of an output key.")
    return value


Id = Annotated[str, AfterValidator(_safe_id)]
# A latent pixel is 8 pixels and the model's patches are 2 latent pixels: 16. Below 64 there is nothing to see of a
# person; above 1920x1088 attention alone takes over four times as long as at the 1280x720 the model was made for.
Side = Annotated[int, Field(ge=64, le=1920, multiple_of=16)]


class AvatarRequest(fields.Request):
    """`input` of an avatar job. Times in seconds, sizes in pixels."""

    input_image_url: Link | None = Field(None, description="http(s) URL of the picture of the person")
    input_image_minio_path: Link | None = Field(None, description="or its key in the bucket")
    driving_video_path: Link | None = Field(None, description="the driving video's key in the bucket")
    driving_video_url: Link | None = Field(None, description="or its http(s) URL")
    user_id: Id | None = Field(None, description="first folder of the output key")
    avatar_id: Id | None = Field(None, description="second folder of the output key")
    mode: Literal["replace", "animate"] = Field(
        "replace", description="replace: background and light of the driving video; animate: those of the picture"
    )
    width: Side = Field(1280, description="pixels, a multiple of 16; with height at most 1920x1088")
    height: Side = Field(720, description="pixels, a multiple of 16")
    fps: float = Field(24, ge=1, le=60, description="the driving video is resampled to it; the sound is kept")
    start_time: float = Field(0, ge=0, description="seconds of the driving video")
    end_time: float | None = Field(None, gt=0, description="seconds; absent: to the end of the video")
    prompt: str = Field(
        "视频中的人在做动作", min_length=1, max_length=2000, description="Wan Animate's own constant prompt"
    )
    negative_prompt: str = Field(
        "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
        "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，"
        "背景人很多，倒着走",
        max_length=2000,
        description="Wan's own; it counts only with a guidance_scale above 1",
    )
    steps: int = Field(6, ge=1, le=100, description="sampling steps, for the step-distilled LoRA")
    guidance_scale: float = Field(1.0, ge=1, le=20, description="above 1 every step takes twice as long")
    seed: fields.Seed = Field(
        default_factory=fields.random_seed, description="the same seed, the same video; absent: any"
    )
    presign: bool = Field(True, description="answer a presigned URL too")

    @model_validator(mode="after")
    def _together(self) -> "AvatarRequest":
        if self.input_image_url and self.input_image_minio_path:
            text = "`input_image_url` and `input_image_minio_path` both name the picture."
            raise refusal("conflicting_fields", text, "input_image_url")
        if not self.input_image_url and not self.input_image_minio_path:
            text = "Neither `input_image_url` nor `input_image_minio_path` names the picture."
            hint = "Add `input_image_minio_path` or `input_image_url` to `input`."
            raise refusal("missing_field", text, "input_image_minio_path", hint)
        if self.driving_video_path and self.driving_video_url:
            text = "`driving_video_path` and `driving_video_url` both name the driving video."
            raise refusal("conflicting_fields", text, "driving_video_path")
        if self.end_time is not None and self.end_time <= self.start_time:
            text = f"`end_time` is {self.end_time} and `start_time` is {self.start_time}."
            raise refusal("invalid_range", text, "end_time")
        if self.width * self.height > fields.MAX_AREA:
            text = f"`width` x `height` is {self.width}x{self.height}; the most is 1920x1088 pixels, either way round."
            raise refusal("invalid_value", text, "width")
        return self

    @property
    def image_field(self) -> str:
        """The field that names the picture."""
        return "input_image_url" if self.input_image_url else "input_image_minio_path"

    @property
    def video_field(self) -> str:
        """The field that names the driving video, also where the worker's default fills it in."""
        return "driving_video_url" if self.driving_video_url else "driving_video_path"


class Avatar:
    """The operation (see base.Operation)."""

    name = "avatar"
    request: type[BaseModel] = AvatarRequest

    def __init__(self, graph: Graph | None = None):
        self.graph = graph or load_graph(WORKFLOWS / "avatar.json")
        self.graphs: Mapping[str, Graph] = {"avatar": self.graph}

    def check(self) -> None:
        """The pinned graph has every node and input that any request may bind, in both modes."""
        request = AvatarRequest.model_validate({"input_image_minio_path": "picture", "driving_video_path": "video"})
        for mode in ("replace", "animate"):
            self.shares(request.model_copy(update={"mode": mode}))

    def parse(self, job_input: Mapping[str, Any], settings: Settings) -> AvatarRequest:
        request = parse_model(AvatarRequest, job_input)
        if request.driving_video_path or request.driving_video_url:
            return request
        if not settings.default_driving_video_path:
            raise JobError(
                "missing_field",
                "driving_video_path",
                "Neither `driving_video_path` nor the worker's DEFAULT_DRIVING_VIDEO_PATH names the driving video.",
                "Add `driving_video_path` (a key of the bucket) or `driving_video_url` to `input`.",
            )
        return request.model_copy(update={"driving_video_path": settings.default_driving_video_path})

    def graph_of(self, request: AvatarRequest) -> Graph:
        return self.graph

    def shares(self, request: AvatarRequest) -> dict[str, float]:
        return self.bind(request, {"picture": "picture", "driving": "driving"}, {}, "shares").weights

    def wanted(self, request: AvatarRequest) -> dict[str, Wanted]:
        return {
            "picture": Wanted(fields.source_of(request, request.image_field), "image", MIN_PICTURE_SIDE),
            "driving": Wanted(fields.source_of(request, request.video_field), "video"),
        }

    def expected(self, request: AvatarRequest, infos: Mapping[str, Info]) -> Expected:
        driving = infos["driving"]
        assert isinstance(driving, VideoInfo)
        try:
            count = frames_in_range(driving, request.fps, request.start_time, request.end_time)
        except JobError as error:
            raise error.with_field(request.video_field) from None
        return Expected(
            width=request.width,
            height=request.height,
            fps=float(exact_rate(request.fps)),
            num_frames=count,
            has_audio=driving.has_audio,
        )

    def bind(
        self, request: AvatarRequest, files: Mapping[str, str], infos: Mapping[str, Info], prompt_id: str
    ) -> Bound:
        size = {"width": request.width, "height": request.height}
        times = {"start_time": float(request.start_time), "end_time": float(request.end_time or 0.0)}
        values: dict[NodeName, dict[str, Any]] = {
            PICTURE: {"image": files["picture"]},
            DRIVING: {"file": files["driving"]},
            LETTERBOX: size,
            RESAMPLE: {"fps": float(request.fps), **size, **times},
            DRAW: size,
            PROMPT: {"text": request.prompt},
            NEGATIVE: {"text": request.negative_prompt},
            STEPS: {"steps": request.steps},
            WINDOWS: {"seed": request.seed, "cfg": float(request.guidance_scale), **size},
            SAVE: {"filename_prefix": f"{prompt_id}/avatar"},
        }
        graph = self.graph
        if request.mode == "animate":
            # The picture brings its own background and light: no masks, so that SAM2 does not run at all.
            graph = graph.without_link(WINDOWS, "background", "masks")
            values[RELIGHT] = {"strength_model": 0.0}
        return _bound(graph, values)

    def outputs(self, request: AvatarRequest, job_id: str) -> dict[str, Output]:
        key = "/".join(["avatar", *(i for i in (request.user_id, request.avatar_id) if i), f"{job_id}.mp4"])
        return {"video": Output(SAVE[0], "video", (key,))}

    def answer(self, request: AvatarRequest, results: Results) -> dict[str, Any]:
        (video,) = results.files["video"]
        return {
            "minio_key": video.key,
            "presigned_url": video.url,
            "presigned_url_expires_at": expires_at(video.url) if video.url else None,
            "urls_expire_at": None,  # told above, by the contract's own name
        }

    def field_of(self, code: str, title: str, request: AvatarRequest) -> str | None:
        if code in ABOUT_PICTURE or (code in ABOUT_EITHER and title in OF_PICTURE):
            return request.image_field
        # Frames are read when they are needed: a broken driving video may show in any node.
        return request.video_field if code in ABOUT_DRIVING | ABOUT_EITHER else None


def _bound(graph: Graph, values: Values) -> Bound:
    prompt = running(graph.bind(values), [SAVE[0]])
    return Bound(prompt, shares_of(prompt, [SAVE[0]], SHARES))
