"""mimicmotion: the dance of a video moved onto the person in a picture, whatever its length (seed 000).

The request is the contract's table (contracts.md) and has the names of the seed's flags. Its defaults stand here and
nowhere else; a test holds the pinned graph to them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, model_validator

from worker.errors import JobError
from worker.finished import Expected
from worker.graph import Graph, NodeName, load_graph
from worker.media import VideoInfo
from worker.operations import fields
from worker.operations.base import WORKFLOWS, Bound, Info, Output, Results, Wanted, parse_model, refusal
from worker.operations.fields import Link, OwnStore, Request
from worker.operations.shares import shares_of
from worker.settings import Settings
from worker.timeline import Sampled, count_chunks, exact_rate, frames_retimed, frames_sampled

IMAGE: NodeName = ("Reference image", "LoadImage")
VIDEO: NodeName = ("Driving video", "LoadVideo")
SAMPLE: NodeName = ("Sample driving video", "CMSampleStride")
FIT: NodeName = ("Fit reference", "CMFitReference")
MIMICMOTION: NodeName = ("MimicMotion", "CMMimicMotion")
RETIME: NodeName = ("Retime", "CMRetime")
SAVE: NodeName = ("Save MP4", "CMSaveVideo")

OF_IMAGE = {IMAGE[0], FIT[0], "Reference as frames", "Detect reference pose", "Draw reference pose", "Fit pose"}
"""Titles of the nodes that refuse for the picture's sake: the pose is fitted to the person in it."""
ABOUT_VIDEO = {"not_a_video", "video_unreadable", "video_too_short", "range_outside_video", "invalid_range"}

MIN_PICTURE_SIDE = 128
"""Pixels. Below it the person has neither hands nor a face that could be found."""
CROSSFADE = 8
"""Frames that two chunks share (seed 000)."""
REFERENCE = 1
"""Of a chunk's frames, the picture with its own pose, which the model sees first and nobody else does."""


def _link(value: str) -> str:
    if not fields.is_url(value):
        hint = "A file of the bucket goes into `video_minio_path`; videos are not taken as base64."
        raise refusal("invalid_value", "`video` is no http(s) URL.", hint=hint)
    return value


# VAE and UNet together halve a side six times, and join the halves to one another again.
Resolution = Annotated[
    int, Field(ge=256, le=576, json_schema_extra={"multipleOf": 64}), AfterValidator(fields.in_steps(64, 256, 576))
]


class MimicMotionRequest(Request):
    """`input` of a mimicmotion job. Times in seconds, sizes in pixels."""

    image: Annotated[str, Field(min_length=1)] | None = Field(
        None, repr=False, description="the person, as a picture: its http(s) URL, or the picture itself as base64"
    )
    image_url: Link | None = Field(None, description="or the http(s) URL of the picture")
    image_minio_path: Link | None = Field(None, description="or the key of the picture in the worker's bucket")
    video: Annotated[Link, AfterValidator(_link)] | None = Field(
        None, description="the dance, as a video: its http(s) URL"
    )
    video_url: Link | None = Field(None, description="or the http(s) URL of the video")
    video_minio_path: Link | None = Field(None, description="or the key of the video in the worker's bucket")
    num_frames: int = Field(
        72, ge=16, le=72, description="frames of a chunk, the picture counted as one; fewer need less memory"
    )
    resolution: Resolution = Field(
        576, description="width of the upright 9:16 video in pixels, a multiple of 64; less needs less memory"
    )
    steps: int = Field(25, ge=10, le=50, description="denoising steps; more are better and slower")
    guidance_scale: float = Field(
        2.0, ge=1, le=5, description="how closely the pose is followed; higher is more rigid; at 1 steps are faster"
    )
    noise_aug_strength: float = Field(0.0, ge=0, le=1, description="noise on the picture; 0 is the cleanest result")
    sample_stride: int = Field(
        2, ge=1, le=4, description="which frames of the video are used: 2 is every other one; it keeps its speed"
    )
    fps: float = Field(15, ge=7, le=30, description="frames a second of the MP4, which keeps the video's speed")
    seed: int = Field(42, ge=-(2**63), lt=2**63, description="any whole number; the same seed, the same video")
    frames_overlap: int = Field(
        6, ge=2, le=12, description="frames by which tiles overlap, where a chunk does not fit into one"
    )
    start_time: float = Field(0, ge=0, description="start of the range of the video in seconds")
    end_time: float | None = Field(None, gt=0, description="its end in seconds; absent: the end of the video")
    auto_chunk: bool = Field(True, description="the whole range, chunk after chunk; false: only the first chunk")
    r2: OwnStore = None

    @model_validator(mode="after")
    def _together(self) -> "MimicMotionRequest":
        fields.given(self, "image")
        fields.given(self, "video")
        if self.end_time is not None and self.end_time <= self.start_time:
            text = f"`end_time` is {self.end_time:g} and `start_time` is {self.start_time:g}."
            raise refusal("invalid_range", text, "end_time")
        return self

    @property
    def image_field(self) -> str:
        """The field that names the picture."""
        return fields.given(self, "image") or ""

    @property
    def video_field(self) -> str:
        """The field that names the video."""
        return fields.given(self, "video") or ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the MP4: upright, the long side rounded down to what the model can halve (fact 18)."""
        return self.resolution, self.resolution * 16 // (9 * 64) * 64

    @property
    def poses_of_a_chunk(self) -> int:
        """Frames of the video that one chunk makes."""
        return self.num_frames - REFERENCE


class MimicMotion:
    """The operation (see base.Operation)."""

    name = "mimicmotion"
    request: type[BaseModel] = MimicMotionRequest

    def __init__(self, graph: Graph | None = None):
        self.graphs: Mapping[str, Graph] = {"mimicmotion": graph or load_graph(WORKFLOWS / "mimicmotion.json")}

    def check(self) -> None:
        """The pinned graph has every node and input that any request may bind."""
        request = MimicMotionRequest.model_validate({"image_minio_path": "picture", "video_minio_path": "video"})
        self._bound(request, {"image": "picture", "video": "video"}, "kept", "check")

    def parse(self, job_input: Mapping[str, Any], settings: Settings) -> MimicMotionRequest:
        return parse_model(MimicMotionRequest, job_input)

    def graph_of(self, request: MimicMotionRequest) -> Graph:
        return self.graphs["mimicmotion"]

    def shares(self, request: MimicMotionRequest) -> dict[str, float]:
        return shares_of(self.graph_of(request).nodes, [SAVE[0]], _costs(request))

    def wanted(self, request: MimicMotionRequest) -> dict[str, Wanted]:
        return {
            "image": Wanted(fields.given_source(request, request.image_field), "image", MIN_PICTURE_SIDE),
            "video": Wanted(fields.given_source(request, request.video_field), "video", digest=True),
        }

    def expected(self, request: MimicMotionRequest, infos: Mapping[str, Info]) -> Expected:
        count = frames_retimed(_sampled(request, infos).length, request.fps)
        return Expected(*request.size, float(exact_rate(request.fps)), count, _video(infos).has_audio)

    def bind(
        self, request: MimicMotionRequest, files: Mapping[str, str], infos: Mapping[str, Info], prompt_id: str
    ) -> Bound:
        return self._bound(request, files, kept_name(request, infos), prompt_id)

    def _bound(self, request: MimicMotionRequest, files: Mapping[str, str], kept: str, prompt_id: str) -> Bound:
        values: dict[NodeName, dict[str, Any]] = {
            IMAGE: {"image": files["image"]},
            VIDEO: {"file": files["video"]},
            SAMPLE: {
                "sample_stride": request.sample_stride,
                "start_time": float(request.start_time),
                "end_time": float(request.end_time or 0.0),
                "max_frames": 0 if request.auto_chunk else request.poses_of_a_chunk,
            },
            FIT: {"resolution": request.resolution},
            MIMICMOTION: {
                "steps": request.steps,
                "min_guidance": float(request.guidance_scale),
                "max_guidance": float(request.guidance_scale),
                "noise_aug_strength": float(request.noise_aug_strength),
                "seed": request.seed % 2**64,
                "num_frames": request.num_frames,
                "frames_overlap": request.frames_overlap,
                "name": kept,
            },
            RETIME: {"fps": float(request.fps)},
            SAVE: {"filename_prefix": f"{prompt_id}/mimicmotion"},
        }
        return Bound(self.graph_of(request).bind(values), self.shares(request), kept, stays=True)

    def outputs(self, request: MimicMotionRequest, job_id: str) -> dict[str, Output]:
        return {"video": Output(SAVE[0], "video", (f"mimicmotion/results/{job_id}.mp4",), "without_store")}

    def answer(self, request: MimicMotionRequest, results: Results) -> dict[str, Any]:
        (video,) = results.files["video"]
        poses = _sampled(request, results.infos).num_frames
        return {
            "video_url": video.url,
            "minio_key": video.key,
            "video_base64": video.base64,
            "num_poses": poses,
            "num_chunks": count_chunks(poses, request.poses_of_a_chunk, min(CROSSFADE, request.poses_of_a_chunk // 2)),
            "notes": list(results.said.get(FIT[0], {}).get("text", [])) or None,
            "processing_time_seconds": round(results.seconds, 3),
        }

    def field_of(self, code: str, title: str, request: MimicMotionRequest) -> str | None:
        if code in fields.ABOUT_PICTURES or (code == "no_person" and title in OF_IMAGE):
            return request.image_field
        # Frames are read when they are needed: a broken video may show in any node.
        return request.video_field if code in ABOUT_VIDEO | {"no_person"} else None


def kept_name(request: MimicMotionRequest, infos: Mapping[str, Info]) -> str:
    """The folder of finished chunks, the same for the same video: by what the two files hold, not where they are."""
    elsewhere = {stem + way for stem in ("image", "video") for way in fields.WAYS} | {"r2"}
    made = request.model_dump(exclude=elsewhere)
    made |= {"picture": fields.picture_info(infos, "image").sha256, "dance": _video(infos).sha256}
    return "mimicmotion-" + hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:32]


def _video(infos: Mapping[str, Info]) -> VideoInfo:
    info = infos["video"]
    assert isinstance(info, VideoInfo), "the driving video is no video"
    return info


def _sampled(request: MimicMotionRequest, infos: Mapping[str, Info]) -> Sampled:
    """Raises JobError for a range that does not fit the video."""
    most = 0 if request.auto_chunk else request.poses_of_a_chunk
    try:
        return frames_sampled(_video(infos), request.sample_stride, request.start_time, request.end_time, most)
    except JobError as error:
        raise error.with_field(request.video_field) from None


def _costs(request: MimicMotionRequest) -> dict[str, float]:
    """{title: share}, in steps of one chunk: the number of chunks is not known yet, but sampling is most of any."""
    return {
        "SVD model": 0.5,
        "MimicMotion model": 0.3,
        "Detect pose": 1.0,
        "Detect reference pose": 0.1,
        MIMICMOTION[0]: request.steps + 3.0,
        RETIME[0]: 0.1,
        SAVE[0]: 0.5,
    }
