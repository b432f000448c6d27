"""An operation of the tests' own: a picture and a video in, an MP4 and a still out, both as base64 too.

It has what i2v has and avatar has not: a picture in every form, a store of its own, two outputs, pieces that are kept.
"""

from typing import Any

from pydantic import BaseModel

from worker.delivery import Delivered
from worker.finished import Expected
from worker.graph import graph_from
from worker.operations import Bound, Output, Wanted
from worker.operations.base import parse_model
from worker.operations.fields import OwnStore, PictureFields, one_of, source_of

GRAPH = graph_from(
    {
        "1": {"class_type": "LoadImage", "inputs": {"image": ""}, "_meta": {"title": "Picture"}},
        "2": {"class_type": "LoadVideo", "inputs": {"file": ""}, "_meta": {"title": "Video"}},
        "3": {
            "class_type": "CMResampleVideo",
            "inputs": {
                **{"video": ["2", 0], "fps": 12.0, "width": 128, "height": 96},
                **{"fit": "pad", "start_time": 0.0, "end_time": 0.0},
            },
            "_meta": {"title": "Resample"},
        },
        "4": {
            "class_type": "CMSaveVideo",
            "inputs": {
                **{"frames": ["3", 0], "sound": ["3", 1], "filename_prefix": ""},
                **{"crf": 17.0, "preset": "veryfast"},
            },
            "_meta": {"title": "Save MP4"},
        },
        "5": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": ""},
            "_meta": {"title": "Save still"},
        },
    },
    "clip.json",
)


class ClipRequest(PictureFields):
    """`inline`: of both outputs; `prompt` is given back."""

    video: str = "in/driving.mp4"
    video_url: str | None = None
    inline: str = "always"
    prompt: str = ""
    kept: str | None = None
    r2: OwnStore = None


class Clip:
    """See base.Operation."""

    name = "clip"
    request: type[BaseModel] = ClipRequest

    def __init__(self):
        self.graphs = {"clip": GRAPH}

    def check(self) -> None:
        pass

    def parse(self, job_input, settings):
        return parse_model(ClipRequest, job_input)

    def graph_of(self, request):
        return GRAPH

    def shares(self, request):
        return dict.fromkeys(GRAPH.titles(), 1.0)

    def wanted(self, request):
        picture = source_of(request, one_of(request, "image"))
        video = source_of(request, "video_url" if request.video_url else "video")
        return {"picture": Wanted(picture, "image", 32), "video": Wanted(video, "video")}

    def expected(self, request, infos):
        assert len(infos["picture"].sha256) == 64
        return Expected(128, 96, 12.0, 18, has_audio=True)

    def bind(self, request, files, infos, prompt_id):
        values = {
            ("Picture", "LoadImage"): {"image": files["picture"]},
            ("Video", "LoadVideo"): {"file": files["video"]},
            ("Save MP4", "CMSaveVideo"): {"filename_prefix": f"{prompt_id}/clip"},
            ("Save still", "SaveImage"): {"filename_prefix": f"{prompt_id}/still"},
        }
        prompt = GRAPH.bind(values)
        # As a graph of several scenes: a node that the pinned one has not.
        prompt["late"] = {**prompt["5"], "_meta": {"title": "Save still (scene 2)"}}
        return Bound(prompt, self.shares(request), request.kept)

    def outputs(self, request, job_id):
        return {
            "video": Output("Save MP4", "video", (f"clip/{job_id}.mp4",), request.inline),
            "still": Output("Save still (scene 2)", "image", (f"clip/{job_id}.png",), request.inline),
        }

    def answer(self, request, results) -> dict[str, Any]:
        video: Delivered = results.files["video"][0]
        still: Delivered = results.files["still"][0]
        return {
            "prompt": request.prompt or None,
            **{"video_base64": video.base64, "video_url": video.url, "video_key": video.key},
            **{"still_base64": still.base64, "still_url": still.url, "still_key": still.key},
            "seconds": results.seconds,
            "generate_seconds": results.generate_seconds,
            "said": dict(results.said),
        }

    def field_of(self, code, title, request):
        return None
