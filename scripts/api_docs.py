"""Writes docs/api.md out of the request classes: `python -m scripts.api_docs`. A test says when it is stale."""

import json
from pathlib import Path
from typing import Any

from worker.operations import Operation, load_operations

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
HEAD = """\
# Requests and answers

Written by `python -m scripts.api_docs` from the request classes in `worker/operations/`; a test holds it to them.

A request is `{"input": {"operation": ..., ...}}`. Without `operation` the worker's `DEFAULT_OPERATION` is meant. A
field that is not listed is refused, with the nearest one as a hint. Media: `..._url` is http(s), `..._minio_path` and
`..._path` are keys of the worker's bucket, `..._base64` is the file itself.

Every answer has `success`, `operation`, `seed`, `timings` (seconds per stage and node), `versions` (project, ComfyUI,
sha256 of the graph and of every model) and `worker`; a video's has `width`, `height`, `fps`, `num_frames`,
`duration_seconds` and `video_size_bytes`; URLs come with `urls_expire_at`. What would make the answer larger than the
platform takes (10 MB) is left out and named in `base64_left_out`. A failure has `error`: `code`, `message`, `field`,
`hint`.

`r2` is a store for this job alone: `{endpoint_url, access_key_id, secret_access_key, bucket_name}`. It is asked before
anything is fetched, its address passes the same guard as any URL, and its keys are in no log, answer or error.
"""
ANSWERS = {
    "avatar": """\
`minio_key` (`avatar/[user_id/][avatar_id/]<job id>.mp4`), `presigned_url`, `presigned_url_expires_at`.""",
    "i2v": """\
`video_base64`, `last_frame_base64` (PNG of the last frame as it was decoded, never compressed as video),
`inference_time_ms`, `resolution`; with a store also `video_url`, `video_r2_key`, `last_frame_url`,
`last_frame_r2_key`; with `scenes` also `segments`: prompt, num_frames and seed of each.

`scenes` is a list of `{prompt, num_frames, seed}` and makes a chain in one job: each scene begins from the last decoded
frame of the one before, with its colours matched to it; the repeated frame is dropped, so the MP4 has the sum of all
num_frames, less one a joint. Finished scenes are kept on disk for `KEEP_HOURS`: a job that died and is sent again, with
its id or its seed, goes on after the last one.""",
    "animate": """\
`output_url` (`video_base64` without a store), `original_size`, `processed_size`, `num_frames`, `fps`,
`motion_bucket_id`, `processing_time_seconds`.

SVD works at 1024x576, upright pictures at 576x1024, on the middle of the picture. Without a mask that is the MP4's
size; with one the moving part is set back into the picture at the picture's own size (longer side at most 3840), black
staying exactly as it is, with a soft edge inside the white.""",
    "segment": """\
`masks`: `url` (`png_base64` without a store), `score`, `bbox` of each, in the order of the boxes; `mask_count`,
`image_size`, `processing_time_seconds`. Masks are PNGs of 0 and 255 at the picture's own size; `bbox` is the mask's own
tight box `[x1, y1, x2, y2]`, x2 and y2 exclusive, null where SAM2 found nothing.""",
    "mimicmotion": """\
`video_url` and `minio_key` (`video_base64` without a store), `num_poses`, `num_chunks`, `notes` (what was cropped),
`processing_time_seconds`.

The result is upright, `resolution` wide and 16:9 high, rounded down to 64 (576x1024); the picture is cropped to that in
its middle. Poses are taken from every `sample_stride`-th frame of the video, whatever its rate; the MP4 keeps the
video's speed and sound at any `fps`. A chunk is made of `num_frames`, the picture itself counted as one; chunks share 8
frames that are crossfaded. Finished chunks are kept on disk for `KEEP_HOURS`: the same job sent again goes on after
them.""",
    "multitalk": """\
`video_url` and `minio_key` (`video_base64` without a store), `speakers_preview_url` (`speakers_preview_base64`: the
picture with each speaker's mask and name drawn in, to see a wrong binding without a second run), `speakers` (`voice`
and `place` of each), `window_frames`, `windows`.

The result is as long as the sound, at most `MAX_AUDIO_SECONDS`: it is made at 25 frames a second in windows that take
over 9 frames from one another, and written at `fps` with the sound as it is. The voices have to be at least one window
long together. The size comes from the picture's shape: about 832x480 or 1280x720 pixels, sides in multiples of 16; what
sticks out is cut off around the middle. Text to speech is not part of it.""",
}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(operation) for operation in load_operations().values())])


def section(operation: Operation) -> str:
    """One operation: what it is, its fields, its answer."""
    schema = operation.request.model_json_schema()
    required = set(schema.get("required", []))
    lines = [f"## {operation.name}", "", "| field | type | default | |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "required" if name in required else shown(field.get("default"))
        lines.append(f"| `{name}` | {kind(field)} | {default} | {cell(field.get('description', ''))} |")
    return "\n".join([*lines, "", f"Answer: {ANSWERS[operation.name]}", ""])


def kind(field: dict[str, Any]) -> str:
    """Type and limits of a field, in words."""
    choices = [choice for choice in field.get("anyOf", [field]) if choice.get("type") != "null"]
    found = choices[0]
    if "enum" in found:
        return " or ".join(f"`{value}`" for value in found["enum"])
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false", "array": "list"}
    text = words.get(found.get("type", ""), "object")
    low = found.get("minimum", found.get("exclusiveMinimum"))
    high = found.get("maximum", found.get("exclusiveMaximum"))
    if low is not None and high is not None and high < 2**53:
        text += f", {low:g} to {high:g}"
    return f"{text}, multiple of {found['multipleOf']}" if "multipleOf" in found else text


def shown(default: Any) -> str:
    return "" if default is None else cell(f"`{json.dumps(default, ensure_ascii=False)}`")


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
