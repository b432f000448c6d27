"""i2v: Wan2.2 A14B makes a video out of a picture and a prompt, or a chain of scenes (seed 002).

The request is the contract's table (contracts.md), with `turbo` and `scenes` as this worker's own additions. Its
defaults stand here and nowhere else; a test holds the pinned graphs to them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, model_validator

from worker.finished import Expected
from worker.graph import Graph, NodeName, load_graph
from worker.media import ImageInfo
from worker.operations import fields, scenes
from worker.operations.base import WORKFLOWS, Bound, Info, Output, Results, Wanted, parse_model, refusal
from worker.operations.fields import NegativePrompt, OwnStore, PictureFields, Prompt, Request, Seed, Side
from worker.operations.shares import shares_of
from worker.settings import Settings
from worker.timeline import exact_rate

START_IMAGE: NodeName = ("Start image", "LoadImage")
NEGATIVE: NodeName = ("Negative prompt", "CLIPTextEncode")
STEPS: NodeName = ("Steps", "BasicScheduler")
ENDS = (scenes.SAVE_VIDEO[0], scenes.SAVE_LAST[0])

MIN_PICTURE_SIDE = 64
"""Pixels. The picture is scaled to the video's size: below it there is nothing to scale."""
MAX_SCENES = 32
TURBO = {"num_inference_steps": 4, "guidance_scale": 1.0}
"""What the LightX2V LoRAs are distilled for; with it a step evaluates the model once instead of twice."""
LOADING = {"High-noise model": 1.0, "Low-noise model": 1.0, "Text encoder": 1.0, "VAE": 0.2}
HIGH_PART = 0.36
"""Of the steps: at shift 5 the simple schedule passes the boundary 0.9 after this part of its time."""

# Wan's VAE makes a latent frame of the first frame and of every four after it.
NumFrames = Annotated[int, Field(ge=5, le=161), AfterValidator(fields.in_steps(4, 5, 161, 1))]
FRAMES_RULE = "4n+1 frames, 5 to 161; the model was made for 81"


class Scene(Request):
    """One of `scenes`."""

    prompt: Prompt = Field(description="what happens in this scene, at most 2000 characters")
    num_frames: NumFrames = Field(81, description=f"its length: {FRAMES_RULE}")
    seed: Seed | None = Field(None, description="its seed; absent: the request's seed + its place in the list, from 0")


Scenes = Annotated[list[Scene], Field(min_length=1, max_length=MAX_SCENES)]


class I2VRequest(PictureFields):
    """`input` of an i2v job. Sizes in pixels, the rate in frames a second."""

    prompt: Prompt | None = Field(None, description="what happens in the video, at most 2000 characters")
    scenes: Scenes | None = Field(
        None, description="instead of prompt and num_frames: scenes that go on from one another, one MP4 of all"
    )
    negative_prompt: NegativePrompt = Field("", description="what should not be seen, at most 2000 characters")
    num_frames: NumFrames = Field(81, description=f"length of the video: {FRAMES_RULE}")
    num_inference_steps: int = Field(40, ge=1, le=100, description="sampling steps; with turbo always 4")
    guidance_scale: float = Field(
        5.0, ge=1, le=20, description="how closely the prompt is followed; at 1 a step takes half as long; with turbo 1"
    )
    seed: Seed = Field(default_factory=fields.random_seed, description="the same seed, the same video; absent: any")
    fps: float = Field(16, ge=1, le=60, description="frames a second of the MP4; the model moves at 16")
    height: Side = Field(480, description="pixels, a multiple of 16 from 64 to 1920")
    width: Side = Field(
        832, description="pixels, a multiple of 16 from 64 to 1920, with height at most 1920x1088; the picture is "
        "scaled to fill the size and cropped to its middle"
    )  # fmt: skip
    turbo: bool = Field(False, description="4 steps without guidance, with the LightX2V LoRAs; else 40 with it")
    r2: OwnStore = None

    @model_validator(mode="before")
    @classmethod
    def _turbo_defaults(cls, values: Any) -> Any:
        turbo = isinstance(values, dict) and values.get("turbo") is True
        return {**TURBO, **values} if turbo else values

    @model_validator(mode="after")
    def _together(self) -> "I2VRequest":
        fields.one_of(self, "image")
        if self.scenes is None and self.prompt is None:
            hint = "Add `prompt` to `input`, or `scenes` for a chain."
            raise refusal("missing_field", "`prompt` is required.", "prompt", hint)
        for name in ("prompt", "num_frames"):
            if self.scenes is not None and name in self.model_fields_set and getattr(self, name) is not None:
                text = f"`{name}` and `scenes` are both there; with `scenes`, each scene has its own."
                raise refusal("conflicting_fields", text, name, f"Leave `{name}` out, or `scenes`.")
        for name, value in TURBO.items():
            if self.turbo and getattr(self, name) != value:
                text = f"`{name}` is {getattr(self, name)} and `turbo` is true, which always means {value:g}."
                raise refusal("conflicting_fields", text, name, f"Leave `{name}` out, or `turbo`.")
        fields.check_area(self.width, self.height)
        return self

    @property
    def image_field(self) -> str:
        """The field that names the picture."""
        return fields.one_of(self, "image") or ""

    @property
    def segments(self) -> list[Scene]:
        """What is made, every seed filled in; one where the request has no scenes."""
        if self.scenes is None:
            return [Scene(prompt=self.prompt or "", num_frames=self.num_frames, seed=self.seed)]
        drawn = [(self.seed + place) % 2**63 for place in range(len(self.scenes))]
        return [
            scene if scene.seed is not None else scene.model_copy(update={"seed": seed})
            for scene, seed in zip(self.scenes, drawn, strict=True)
        ]


class I2V:
    """The operation (see base.Operation)."""

    name = "i2v"
    request: type[BaseModel] = I2VRequest

    def __init__(self, graphs: Mapping[str, Graph] | None = None):
        self.graphs: Mapping[str, Graph] = graphs or {
            name: load_graph(WORKFLOWS / f"{name}.json") for name in ("i2v", "i2v_turbo")
        }

    def check(self) -> None:
        """Both pinned graphs have every node and input that any request may bind, and can be chained."""
        infos = {"image": ImageInfo(832, 480, "PNG", 1)}
        for turbo in (False, True):
            for more in ({"prompt": "p"}, {"scenes": [{"prompt": "p"}] * 3}):
                request = I2VRequest.model_validate({"image_minio_path": "picture", "turbo": turbo, **more})
                self.bind(request, {"image": "picture"}, infos, "check")

    def parse(self, job_input: Mapping[str, Any], settings: Settings) -> I2VRequest:
        return parse_model(I2VRequest, job_input)

    def graph_of(self, request: I2VRequest) -> Graph:
        return self.graphs["i2v_turbo" if request.turbo else "i2v"]

    def shares(self, request: I2VRequest) -> dict[str, float]:
        graph = scenes.unroll(self.graph_of(request), len(request.segments))
        return shares_of(graph.nodes, ENDS, _costs(request))

    def wanted(self, request: I2VRequest) -> dict[str, Wanted]:
        return {"image": Wanted(fields.source_of(request, request.image_field), "image", MIN_PICTURE_SIDE)}

    def expected(self, request: I2VRequest, infos: Mapping[str, Info]) -> Expected:
        segments = request.segments
        # At each joint the first frame of a scene repeats the last one before it, and is dropped.
        count = sum(scene.num_frames for scene in segments) - (len(segments) - 1)
        return Expected(request.width, request.height, float(exact_rate(request.fps)), count, has_audio=False)

    def bind(self, request: I2VRequest, files: Mapping[str, str], infos: Mapping[str, Info], prompt_id: str) -> Bound:
        segments = request.segments
        graph = scenes.unroll(self.graph_of(request), len(segments))
        kept = kept_name(request, fields.picture_info(infos, "image").sha256)
        cfg = {"cfg": float(request.guidance_scale)}
        size = {"width": request.width, "height": request.height}
        values: dict[NodeName, dict[str, Any]] = {
            START_IMAGE: {"image": files["image"]},
            NEGATIVE: {"text": request.negative_prompt},
            STEPS: {"steps": request.num_inference_steps},
            scenes.SAVE_VIDEO: {"filename_prefix": f"{prompt_id}/i2v"},
            scenes.SAVE_LAST: {"filename_prefix": f"{prompt_id}/last_frame"},
        }
        for number, scene in enumerate(segments, 1):
            own = {
                scenes.PROMPT: {"text": scene.prompt},
                scenes.IMAGE_TO_VIDEO: {**size, "length": scene.num_frames},
                scenes.NOISE: {"noise_seed": scene.seed},
                scenes.HIGH_GUIDER: cfg,
                scenes.LOW_GUIDER: cfg,
                scenes.DECODE: {"fps": float(exact_rate(request.fps))},
                scenes.KEEP: {"name": kept},
            }
            values |= {scenes.of_scene(name, number): inputs for name, inputs in own.items()}
        return Bound(graph.bind(values), self.shares(request), kept)

    def outputs(self, request: I2VRequest, job_id: str) -> dict[str, Output]:
        key = f"wan-i2v/results/{job_id}"
        return {
            "video": Output(scenes.SAVE_VIDEO[0], "video", (f"{key}_video.mp4",), "always"),
            "last_frame": Output(scenes.SAVE_LAST[0], "image", (f"{key}_lastframe.png",), "always"),
        }

    def answer(self, request: I2VRequest, results: Results) -> dict[str, Any]:
        video, last_frame = results.files["video"][0], results.files["last_frame"][0]
        return {
            "video_base64": video.base64,
            "last_frame_base64": last_frame.base64,
            "inference_time_ms": round(results.generate_seconds * 1000),
            "resolution": f"{request.width}x{request.height}",
            "video_url": video.url,
            "video_r2_key": video.key,
            "last_frame_url": last_frame.url,
            "last_frame_r2_key": last_frame.key,
            "segments": [scene.model_dump() for scene in request.segments] if request.scenes else None,
        }

    def field_of(self, code: str, title: str, request: I2VRequest) -> str | None:
        return request.image_field if code in fields.ABOUT_PICTURES else None


def kept_name(request: I2VRequest, picture: str) -> str:
    """The folder of finished scenes, the same for the same video: not where the picture came from (`picture` is its
    sha256), nor where the result goes, nor a request seed that no scene uses."""
    where = {"image_base64", "image_url", "image_minio_path", "r2"}
    made = request.model_dump(exclude={*where, "prompt", "scenes", "num_frames", "seed"})
    made |= {"picture": picture, "segments": [scene.model_dump() for scene in request.segments]}
    return "i2v-" + hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:32]


def _costs(request: I2VRequest) -> dict[str, float]:
    """{title: share}, in the time of one evaluation of the model at 832x480x81: what sampling is made of."""
    evaluations = request.num_inference_steps * (1 if request.guidance_scale == 1 else 2)
    costs = dict(LOADING)
    for number, scene in enumerate(request.segments, 1):
        part = scene.num_frames / 81
        own = {
            scenes.PROMPT: 0.1,
            scenes.IMAGE_TO_VIDEO: 0.7 * part,
            scenes.HIGH_STEPS: HIGH_PART * evaluations * part,
            scenes.LOW_STEPS: (1 - HIGH_PART) * evaluations * part,
            scenes.DECODE: 1.0 * part,
            scenes.KEEP: 0.2 * part,
            scenes.MATCH: 0.1 * part,
        }
        costs |= {scenes.of_scene(name, number)[0]: cost for name, cost in own.items()}
        costs[scenes.SAVE_VIDEO[0]] = costs.get(scenes.SAVE_VIDEO[0], 0.0) + 0.2 * part
    return costs
