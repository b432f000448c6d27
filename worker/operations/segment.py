"""segment: SAM2 cuts things out of a picture, by boxes (a mask for each) or by points (one mask) (seed 001).

The request is the contract's table (contracts.md).
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

from worker.errors import JobError
from worker.graph import Graph, NodeName, load_graph
from worker.media import ImageInfo
from worker.operations import fields
from worker.operations.base import WORKFLOWS, Bound, Info, Output, Results, Wanted, parse_model, refusal
from worker.operations.fields import OwnStore, PictureFields
from worker.operations.shares import shares_of
from worker.settings import Settings

IMAGE: NodeName = ("Image", "LoadImage")
SEGMENT: NodeName = ("Segment image", "CMSegmentImage")
SAVE: NodeName = ("Save masks", "CMSaveMasks")

MAX_PROMPTS = 64
MIN_PICTURE_SIDE = 16
MAX_MASK_PIXELS = 1_000_000_000
"""Of all masks of a job together: ComfyUI's MASK takes 4 bytes a pixel."""
COSTS = {"Image": 1.0, "SAM2": 10.0, "Segment image": 80.0, "Save masks": 5.0}
"""Shares of the time. The picture is encoded once, whatever the number of boxes: that is most of it."""

Box = Annotated[list[float], Field(min_length=4, max_length=4)]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Label = Annotated[int, Field(ge=0, le=1)]


class SegmentRequest(PictureFields):
    """`input` of a segment job. Coordinates in pixels of the picture as it is seen, from its upper left corner."""

    bboxes: Annotated[list[Box], Field(min_length=1, max_length=MAX_PROMPTS)] | None = Field(
        None, description="boxes [[x1, y1, x2, y2], ...] in pixels, one mask each, at most 64"
    )
    points: Annotated[list[Point], Field(min_length=1, max_length=MAX_PROMPTS)] | None = Field(
        None, description="or points [[x, y], ...] in pixels, all of one thing, one mask, at most 64"
    )
    point_labels: Annotated[list[Label], Field(min_length=1, max_length=MAX_PROMPTS)] | None = Field(
        None, description="for each point 1 (it belongs to the thing) or 0 (it does not)"
    )
    r2: OwnStore = None

    @model_validator(mode="after")
    def _together(self) -> "SegmentRequest":
        fields.one_of(self, "image")
        if self.bboxes is not None:
            for name in ("points", "point_labels"):
                if getattr(self, name) is not None:
                    text = f"`bboxes` and `{name}` are both there."
                    raise refusal("conflicting_fields", text, "bboxes", "Send boxes or points: two jobs for both.")
            for place, box in enumerate(self.bboxes):
                _check_box(place, box, len(self.bboxes))
        elif self.points is not None:
            _check_labels(self.points, self.point_labels)
            for place, point in enumerate(self.points):
                _check_point(place, point, len(self.points))
        else:
            text = "Neither `bboxes` nor `points` says what to cut out."
            raise refusal("missing_field", text, "bboxes", "Add `bboxes`, or `points` with `point_labels`, to `input`.")
        return self

    @property
    def image_field(self) -> str:
        """The field that names the picture."""
        return fields.one_of(self, "image") or ""

    @property
    def count(self) -> int:
        """How many masks come out: one a box, or one for all points."""
        return len(self.bboxes) if self.bboxes is not None else 1


class Segment:
    """The operation (see base.Operation)."""

    name = "segment"
    request: type[BaseModel] = SegmentRequest

    def __init__(self, graph: Graph | None = None):
        self.graphs: Mapping[str, Graph] = {"segment": graph or load_graph(WORKFLOWS / "segment.json")}

    def check(self) -> None:
        """The pinned graph has every node and input that any request may bind."""
        request = SegmentRequest.model_validate({"image_minio_path": "picture", "bboxes": [[0, 0, 8, 8]]})
        self.bind(request, {"image": "picture"}, {}, "check")

    def parse(self, job_input: Mapping[str, Any], settings: Settings) -> SegmentRequest:
        return parse_model(SegmentRequest, job_input)

    def graph_of(self, request: SegmentRequest) -> Graph:
        return self.graphs["segment"]

    def shares(self, request: SegmentRequest) -> dict[str, float]:
        return shares_of(self.graph_of(request).nodes, [SAVE[0]], COSTS)

    def wanted(self, request: SegmentRequest) -> dict[str, Wanted]:
        return {"image": Wanted(fields.source_of(request, request.image_field), "image", MIN_PICTURE_SIDE)}

    def expected(self, request: SegmentRequest, infos: Mapping[str, Info]) -> None:
        """No video; but only now is it known whether the boxes and points lie in the picture."""
        image = fields.picture_info(infos, "image")
        if image.width * image.height * request.count > MAX_MASK_PIXELS:
            text = f"{request.count} masks of {image.width}x{image.height} pixels are more than the worker holds."
            hint = f"Ask for at most {MAX_MASK_PIXELS // (image.width * image.height)} boxes a job, or scale it down."
            raise JobError("too_large", "bboxes", text, hint)
        for place, box in enumerate(request.bboxes or ()):
            _require_inside("bboxes", place, len(request.bboxes or ()), box, image)
        for place, point in enumerate(request.points or ()):
            _require_inside("points", place, len(request.points or ()), point, image)

    def bind(
        self, request: SegmentRequest, files: Mapping[str, str], infos: Mapping[str, Info], prompt_id: str
    ) -> Bound:
        prompts = {"boxes": request.bboxes, "points": request.points, "point_labels": request.point_labels}
        values: dict[NodeName, dict[str, Any]] = {
            IMAGE: {"image": files["image"]},
            SEGMENT: {name: "" if value is None else json.dumps(value) for name, value in prompts.items()},
            SAVE: {"filename_prefix": f"{prompt_id}/mask"},
        }
        return Bound(self.graph_of(request).bind(values), self.shares(request))

    def outputs(self, request: SegmentRequest, job_id: str) -> dict[str, Output]:
        keys = tuple(f"segment/results/{job_id}_mask_{number}.png" for number in range(1, request.count + 1))
        return {"masks": Output(SAVE[0], "image", keys, "without_store")}

    def answer(self, request: SegmentRequest, results: Results) -> dict[str, Any]:
        files = results.files["masks"]
        said = results.said.get(SAVE[0], {}).get("masks", [])
        if len(said) != len(files):
            detail = f'"{SAVE[0]}" wrote {len(files)} masks and told the scores of {len(said)}.'
            raise JobError("no_output", detail=detail)
        masks = []
        for file, about in zip(files, said, strict=True):
            place = {"url": file.url} if file.url is not None else {"png_base64": file.base64}
            masks.append({**place, "score": about["score"], "bbox": about["bbox"]})
        image = fields.picture_info(results.infos, "image")
        return {
            "masks": masks,
            "mask_count": len(masks),
            "image_size": [image.width, image.height],
            "processing_time_seconds": round(results.seconds, 3),
        }

    def field_of(self, code: str, title: str, request: SegmentRequest) -> str | None:
        if code in fields.ABOUT_PICTURES:
            return request.image_field
        prompts = "points" if request.bboxes is None else "bboxes"
        return prompts if title == SEGMENT[0] and code in ("empty_mask", "invalid_value") else None


def _check_box(place: int, box: list[float], count: int) -> None:
    left, top, right, bottom = box
    what = f"Box {place + 1} of {count}, {_shown(box)},"
    if min(box) < 0:
        text, hint = f"{what} begins outside the picture.", "Coordinates count from 0, the upper left corner."
        raise refusal("invalid_value", text, f"bboxes.{place}", hint)
    if right - left < 1 or bottom - top < 1:
        text = f"{what} is empty: x2 is wanted at least 1 pixel right of x1, and y2 below y1."
        raise refusal(
            "invalid_value",
            text,
            f"bboxes.{place}",
            "A box is [x1, y1, x2, y2]: its upper left, then its lower right corner.",
        )


def _check_point(place: int, point: list[float], count: int) -> None:
    if min(point) < 0:
        text = f"Point {place + 1} of {count}, {_shown(point)}, lies outside the picture."
        hint = "Coordinates count from 0, the upper left corner."
        raise refusal("invalid_value", text, f"points.{place}", hint)


def _check_labels(points: list[list[float]], labels: list[int] | None) -> None:
    hint = "Give each point its label: 1 belongs to the thing, 0 does not."
    if labels is None:
        text = f"`points` has {len(points)} points, and `point_labels` is missing."
        raise refusal("missing_field", text, "point_labels", hint)
    if len(labels) != len(points):
        text = f"`point_labels` has {len(labels)} labels for {len(points)} points."
        raise refusal("invalid_value", text, "point_labels", hint)
    if not any(labels):
        raise refusal("invalid_value", "`point_labels` has no 1: no point is on the thing.", "point_labels", hint)


def _require_inside(field: str, place: int, count: int, numbers: list[float], image: ImageInfo) -> None:
    """A box may end on the picture's edge; a point must be on a pixel."""
    is_box = field == "bboxes"
    beyond = max(numbers[-2] - image.width, numbers[-1] - image.height)
    if beyond > 0 or (beyond == 0 and not is_box):
        what, how = ("Box", "reaches") if is_box else ("Point", "lies")
        seen = f"{what} {place + 1} of {count}, {_shown(numbers)}, {how} outside the picture"
        text = f"{seen}, which has {image.width}x{image.height} pixels."
        hint = "Coordinates are pixels of the picture as it is seen, after its EXIF orientation."
        raise JobError("invalid_value", f"{field}.{place}", text, hint)


def _shown(numbers: list[float]) -> str:
    return f"[{', '.join(f'{number:g}' for number in numbers)}]"
