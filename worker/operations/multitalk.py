"""multitalk: one or two people in a picture talk, in time with their voices (seed 003).

What a request may say is in multitalk_request.py, who speaks where in multitalk_speakers.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pydantic import BaseModel

from worker.errors import JobError
from worker.finished import Expected
from worker.graph import Graph, NodeName, load_graph
from worker.media import ImageInfo, SoundInfo
from worker.operations import fields
from worker.operations import multitalk_speakers as who
from worker.operations.base import WORKFLOWS, Bound, Info, Output, Results, Wanted, parse_model
from worker.operations.multitalk_request import AUDIO, MultiTalkRequest
from worker.operations.shares import running, shares_of
from worker.settings import Settings
from worker.timeline import (
    TALK_FPS,
    VOICE_RATE,
    count_chunks,
    exact_rate,
    frames_retimed,
    frames_spoken,
    voice_samples,
)

PICTURE: NodeName = ("Picture", "LoadImage")
FIT: NodeName = ("Fit picture", "CMFitPicture")
VOICES: tuple[NodeName, ...] = (("Voice 1", "CMLoadSound"), ("Voice 2", "CMLoadSound"))
PREPARE: NodeName = ("Prepare voices", "CMPrepareVoices")
PROMPT: NodeName = ("Prompt", "CLIPTextEncode")
NEGATIVE: NodeName = ("Negative prompt", "CLIPTextEncode")
SCHEDULE: NodeName = ("Schedule", "CMTalkSchedule")
TALK: NodeName = ("Talk", "CMTalk")
RETIME: NodeName = ("Retime", "CMRetime")
SAVE: NodeName = ("Save MP4", "CMSaveVideo")
PREVIEW: NodeName = ("Save speakers preview", "SaveImage")
ENDS = (SAVE[0], PREVIEW[0])

ABOUT_SOUND = {"no_sound", "no_voice", "sound_unreadable", "voice_too_short", "audio_too_long"}
ABOUT_PEOPLE = {"no_person", "one_person"}
ABOUT_PLACES = {"empty_mask", "speakers_overlap"}
MIN_PICTURE_SIDE = 128
"""Pixels. Below it no mouth could be seen moving."""
MAX_ASPECT = 4
"""Longer side to shorter one: beyond it, so little of the height or width is left that no face has room in it."""
LEAST_VOICE = VOICE_RATE * 2 // 5
"""Samples at 16 kHz, 0.4 seconds: the loudness of less cannot be measured (BS.1770, one block)."""
SHIFTS = {"480p": 7.0, "720p": 11.0}
TURBO_SHIFT = 2.0


@dataclass(frozen=True)
class Spoken:
    """The voices as they will be heard: frames at 25 a second, and in how many windows they are made."""

    num_frames: int
    windows: int


class MultiTalk:
    """The operation (see base.Operation)."""

    name = "multitalk"
    request: type[BaseModel] = MultiTalkRequest

    def __init__(self, graphs: Mapping[str, Graph] | None = None):
        self.graphs: Mapping[str, Graph] = graphs or {
            name: load_graph(WORKFLOWS / f"{name}.json") for name in ("multitalk", "multitalk_turbo")
        }

    def check(self) -> None:
        """Both pinned graphs have every node and input that any request may bind."""
        infos: dict[str, Info] = {"image": ImageInfo(832, 480, "PNG", 1)}
        infos |= {role: SoundInfo(10 * VOICE_RATE, VOICE_RATE, 1, 10.0, 0.0) for role in AUDIO}
        places = (None, [[0, 0, 99, 99], [100, 0, 199, 99]], [[50, 50], [150, 50]])
        one = {"reference_image_minio_path": "picture", "audio_1_minio_path": "voice", "prompt": "p"}
        asked = [one, *({**one, "audio_2_minio_path": "voice", "speakers": each} for each in places)]
        for turbo in (False, True):
            for each in asked:
                request = MultiTalkRequest.model_validate({**each, "turbo": turbo})
                self.bind(request, dict.fromkeys(infos, "file"), infos, "check")

    def parse(self, job_input: Mapping[str, Any], settings: Settings) -> MultiTalkRequest:
        return parse_model(MultiTalkRequest, job_input).with_most(settings.max_audio_seconds)

    def graph_of(self, request: MultiTalkRequest) -> Graph:
        return self.graphs["multitalk_turbo" if request.turbo else "multitalk"]

    def shares(self, request: MultiTalkRequest) -> dict[str, float]:
        return shares_of(self._graph(request).nodes, ENDS, _costs(request))

    def wanted(self, request: MultiTalkRequest) -> dict[str, Wanted]:
        voices = request.audio_fields.items()
        return {
            "image": Wanted(fields.given_source(request, request.image_field), "image", MIN_PICTURE_SIDE),
            **{role: Wanted(fields.given_source(request, field), "audio") for role, field in voices},
        }

    def expected(self, request: MultiTalkRequest, infos: Mapping[str, Info]) -> Expected:
        size = _size(request, infos)
        if request.speakers is not None:
            who.in_fitted(request.speakers, fields.picture_info(infos, "image"), size)
        frames = spoken(request, infos).num_frames
        count = frames_retimed(Fraction(frames, TALK_FPS), request.fps)
        return Expected(*size, float(exact_rate(request.fps)), count, has_audio=True)

    def bind(
        self, request: MultiTalkRequest, files: Mapping[str, str], infos: Mapping[str, Info], prompt_id: str
    ) -> Bound:
        values: dict[NodeName, dict[str, Any]] = {
            PICTURE: {"image": files["image"]},
            FIT: {"resolution": request.resolution},
            **{VOICES[AUDIO.index(role)]: {"file": files[role]} for role in request.audio_fields},
            PREPARE: {"audio_order": request.audio_order},
            PROMPT: {"text": request.prompt},
            NEGATIVE: {"text": request.negative_prompt},
            SCHEDULE: {
                "steps": request.sampling_steps,
                "shift": TURBO_SHIFT if request.turbo else SHIFTS[request.resolution],
            },
            TALK: {
                "seed": request.seed,
                "guidance_scale": float(request.guidance_scale),
                "audio_guidance_scale": float(request.audio_guidance_scale),
                "num_frames": request.window_frames,
                "motion_frames": request.motion_frames,
            },
            RETIME: {"fps": float(request.fps)},
            SAVE: {"filename_prefix": f"{prompt_id}/multitalk"},
            PREVIEW: {"filename_prefix": f"{prompt_id}/speakers"},
        }
        if request.speakers is not None:
            image = fields.picture_info(infos, "image")
            values |= who.prompts(who.in_fitted(request.speakers, image, _size(request, infos)))
        graph = self._graph(request)
        costs = _costs(request, spoken(request, infos).windows)
        return Bound(running(graph.bind(values), ENDS), shares_of(graph.nodes, ENDS, costs))

    def outputs(self, request: MultiTalkRequest, job_id: str) -> dict[str, Output]:
        key = f"multitalk/results/{job_id}"
        return {
            "video": Output(SAVE[0], "video", (f"{key}.mp4",), "without_store"),
            "speakers": Output(PREVIEW[0], "image", (f"{key}_speakers.png",), "without_store"),
        }

    def answer(self, request: MultiTalkRequest, results: Results) -> dict[str, Any]:
        (video,), (preview,) = results.files["video"], results.files["speakers"]
        places = request.speakers or (who.SIDES if len(request.audio_fields) > 1 else ("whole picture",))
        return {
            "video_url": video.url,
            "minio_key": video.key,
            "video_base64": video.base64,
            "speakers_preview_url": preview.url,
            "speakers_preview_base64": preview.base64,
            "speakers": [{"voice": role, "place": place} for role, place in zip(AUDIO, places, strict=False)],
            "window_frames": request.window_frames,
            "windows": spoken(request, results.infos).windows,
        }

    def field_of(self, code: str, title: str, request: MultiTalkRequest) -> str | None:
        own = {VOICES[AUDIO.index(role)][0]: field for role, field in request.audio_fields.items()}
        if title in own and code in ABOUT_SOUND:
            return own[title]
        if code in ABOUT_SOUND:
            return request.audio_fields["audio_1"]
        if request.speakers is not None and (code in ABOUT_PLACES or title in (who.SEGMENT[0], who.SECOND[0])):
            return "speakers"
        return request.image_field if code in fields.ABOUT_PICTURES | ABOUT_PEOPLE | ABOUT_PLACES else None

    def _graph(self, request: MultiTalkRequest) -> Graph:
        """Without the second voice, and without the speakers' masks, where the request has none."""
        graph = self.graph_of(request)
        if len(request.audio_fields) == 1:
            graph = graph.without_link(PREPARE, "voice_2")
        if request.speakers is None:
            return graph.without_link(who.WHO, "masks")
        return who.with_points_apart(graph) if len(request.speakers[0]) == who.POINT else graph


def spoken(request: MultiTalkRequest, infos: Mapping[str, Info]) -> Spoken:
    """Raises JobError voice_too_short, audio_too_long for voices that cannot be spoken as the request wants them."""
    sounds = {role: info for role, info in infos.items() if isinstance(info, SoundInfo)}
    samples = {role: voice_samples(info.num_samples, info.rate) for role, info in sounds.items()}
    for role, count in samples.items():
        if count < LEAST_VOICE:
            detail = f"It has {count / VOICE_RATE:.2f} s; at least {LEAST_VOICE / VOICE_RATE:g} s are needed."
            raise JobError("voice_too_short", request.audio_fields[role], detail, "Send a longer recording.")
    joined = max(samples.values()) if request.audio_order == "together" else sum(samples.values())
    seconds, frames = joined / VOICE_RATE, frames_spoken(joined)
    both = len(samples) > 1
    what = "It has" if not both else f"Both voices, {request.audio_order.replace('_', ' ')}, have"
    if request.most_seconds is not None and seconds > request.most_seconds:
        detail = f"{what} {seconds:.2f} s; the limit is {request.most_seconds:g} s."
        raise JobError("audio_too_long", request.audio_fields["audio_1"], detail)
    if frames < request.window_frames:
        needed = f"a window of {request.window_frames} frames has {request.window_frames / TALK_FPS:g} s"
        detail = f"{what} {seconds:.2f} s, {frames} frames at {TALK_FPS} a second; {needed}."
        hint = f"Set num_frames to {frames} or less, or send a longer recording."
        raise JobError("voice_too_short", request.audio_fields["audio_1"], detail, hint)
    return Spoken(frames, count_chunks(frames, request.window_frames, request.motion_frames))


def _size(request: MultiTalkRequest, infos: Mapping[str, Info]) -> tuple[int, int]:
    """Width and height of the video. Raises JobError invalid_value for a picture that is too long for its width."""
    image = fields.picture_info(infos, "image")
    if max(image.width, image.height) > MAX_ASPECT * min(image.width, image.height):
        detail = f"The picture has {image.width}x{image.height} pixels; at most {MAX_ASPECT}:1 or 1:{MAX_ASPECT}."
        raise JobError("invalid_value", request.image_field, detail, "Crop it to the people in it.")
    return who.fitted_size(image.width, image.height, request.resolution)


def _costs(request: MultiTalkRequest, windows: int = 1) -> dict[str, float]:
    """{title: share}, in the time of one evaluation of the model for 81 frames at 480p.

    A step evaluates it three times with both guidances, twice with one, once without. windows: not known before the
    sound has come, but sampling is most of any number of them.
    """
    area = who.AREAS[request.resolution] / who.AREAS["480p"]
    # Attention makes a window's time grow faster than its size; the rest of the model does not.
    part = (request.window_frames / 81 * area) ** 1.5
    guided = (request.guidance_scale != 1) + (request.audio_guidance_scale != 1)
    return {
        "Audio encoder": 0.2,
        "Encode voices": 0.2,
        "Wan model": 2.0,
        "LoRA": 0.5,
        "MultiTalk model": 0.5,
        "Text encoder": 1.0,
        "CLIP vision": 0.2,
        "Pose models": 0.2,
        who.WHO[0]: 0.2,
        "SAM2": 0.2,
        TALK[0]: windows * part * (request.sampling_steps * (1 + guided) + 2.0),
        SAVE[0]: 0.5,
    }
