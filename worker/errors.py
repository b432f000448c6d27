"""The one table of errors: code, what happened, what to do.

A failed job answers `error` {code, message, field, hint}. The code is for programs and never changes;
message and hint are read by a person, often at night. `tests/worker/test_errors.py` holds the table and
the code together: every code raised is in it, every code in it is raised.
"""

from typing import NamedTuple


class ErrorSpec(NamedTuple):
    """What happened (one sentence, a full stop at its end) and what to do about it."""

    message: str
    hint: str


ERRORS: dict[str, ErrorSpec] = {
    # The request itself
    "missing_field": ErrorSpec("A required field is missing.", "Add the field to `input`."),
    "conflicting_fields": ErrorSpec("Two fields say the same thing.", "Send only one of them."),
    "unknown_field": ErrorSpec("The request has a field this operation does not know.", "Remove or rename it."),
    "unknown_operation": ErrorSpec(
        "The worker has no such operation.", "Set `input.operation` or the environment variable DEFAULT_OPERATION."
    ),
    "invalid_value": ErrorSpec("A field has a value outside its rule.", "Correct the value."),
    "invalid_id": ErrorSpec(
        "An id is too long or has characters it may not have.",
        "Use 1 to 64 letters, digits, `.`, `_` or `-`, and not dots alone.",
    ),
    "key_outside_prefix": ErrorSpec(
        "The object key leaves the place where it may point.",
        "Send a plain key under the bucket: no leading slash, no `..`, no backslash.",
    ),
    # Fetching
    "address_refused": ErrorSpec(
        "The URL may not be fetched from here.", "Use a public http(s) URL, or put the file into the bucket."
    ),
    "fetch_failed": ErrorSpec("The URL could not be fetched.", "Open the URL yourself: does it still give the file?"),
    "fetch_timeout": ErrorSpec(
        "The file did not arrive in time.", "Use a faster source or a smaller file, or put it into the bucket."
    ),
    "too_large": ErrorSpec("The file is larger than this worker accepts.", "Send a smaller or shorter file."),
    # Media
    "not_an_image": ErrorSpec("The file is not a picture that can be read.", "Send a JPEG, PNG or WebP picture."),
    "not_a_video": ErrorSpec("The file is not a video.", "Send an MP4, MOV, WebM or MKV video."),
    "mask_mismatch": ErrorSpec(
        "The mask is not of the picture's size.", "Send a mask with as many pixels each way as the picture."
    ),
    "picture_too_small": ErrorSpec("The picture is too small.", "Send a larger picture."),
    "video_unreadable": ErrorSpec(
        "The video cannot be opened or decoded.", "Is the file complete? Encode it again as H.264 MP4."
    ),
    "video_too_short": ErrorSpec("The video has too few frames in the range.", "Send a longer video or range."),
    "sound_unreadable": ErrorSpec(
        "The file is no sound that can be read.", "Send a WAV, FLAC, MP3, M4A or Ogg file, or a video with sound."
    ),
    "no_sound": ErrorSpec("The file has no sound.", "Send a file with a sound track in it."),
    "no_voice": ErrorSpec("There is no voice in the sound.", "Send a recording in which somebody is heard speaking."),
    "voice_too_short": ErrorSpec(
        "The voice is shorter than one window.", "Send a longer recording, or a smaller num_frames."
    ),
    "audio_too_long": ErrorSpec(
        "The sound is longer than this worker accepts.", "Send a shorter recording, or raise MAX_AUDIO_SECONDS."
    ),
    "range_outside_video": ErrorSpec(
        "The range asked for lies outside the video.", "Choose start_time and end_time within the video."
    ),
    "invalid_range": ErrorSpec("The range ends before it starts.", "Make end_time greater than start_time."),
    # The object store
    "object_not_found": ErrorSpec("There is no object with this key.", "Check the key, and that the upload finished."),
    "bucket_not_found": ErrorSpec("The bucket does not exist.", "Create the bucket, or correct MINIO_BUCKET."),
    "store_denied": ErrorSpec(
        "The object store refused the credentials or the access.",
        "Check MINIO_ACCESS_KEY and MINIO_SECRET_KEY, and what that user may do in the bucket.",
    ),
    "store_unavailable": ErrorSpec(
        "The object store could not be reached or kept failing.",
        "Check MINIO_ENDPOINT and MINIO_USE_SSL, and whether the store is up; then send the job again.",
    ),
    "no_store": ErrorSpec(
        "No object store is configured.",
        "Set MINIO_ENDPOINT, MINIO_ACCESS_KEY, MINIO_SECRET_KEY and MINIO_BUCKET.",
    ),
    # What the nodes refuse (their MotionError carries these codes)
    "no_person": ErrorSpec("No person was found.", "Send a picture and a video in which the whole person is visible."),
    "one_person": ErrorSpec(
        "There are two voices and only one person was found.",
        "Send a picture in which both are visible, say in `speakers` where they are, or send one voice.",
    ),
    "speakers_overlap": ErrorSpec(
        "Both voices are given to the same place in the picture.",
        "Give each voice its own person: boxes that share less than half of the smaller one, or points apart.",
    ),
    "no_face": ErrorSpec("No face was seen in the driving video.", "Send a video in which the face is visible."),
    "empty_mask": ErrorSpec(
        "Nothing could be separated from the background.",
        "Send a picture or video in which the person or thing stands out, or place the box or point on it.",
    ),
    "model_file": ErrorSpec(
        "A model file is missing or of the wrong kind.", "Check the files under MODEL_PATH against the README."
    ),
    # ComfyUI
    "engine_not_found": ErrorSpec(
        "ComfyUI of the pinned version was not found.", "Set COMFYUI_PATH to a ComfyUI v0.33.0 tree or COMFYUI_GIT_URL."
    ),
    "engine_crashed": ErrorSpec(
        "ComfyUI ended by itself.", "The last log lines say why. It is started anew: the job can be sent again."
    ),
    "engine_unreachable": ErrorSpec("ComfyUI does not answer.", "Look at ComfyUI's log; the worker may be starting."),
    "graph_invalid": ErrorSpec(
        "The workflow file does not fit this worker.", "Restore the file in workflows/ that came with this version."
    ),
    "graph_rejected": ErrorSpec(
        "ComfyUI refused the graph.", "Is a model file missing, or ComfyUI another version than the pinned one?"
    ),
    "node_failed": ErrorSpec("A node of the graph failed.", "The message names the node; the log has the rest."),
    "out_of_memory": ErrorSpec(
        "The GPU ran out of memory.", "Ask for a smaller width and height, or use a GPU with more memory."
    ),
    "deadline_exceeded": ErrorSpec(
        "The job did not finish in time.", "Ask for fewer seconds or fewer steps, or raise JOB_TIMEOUT_S."
    ),
    "cancelled": ErrorSpec("The job was cancelled.", "Nothing to do: whoever cancelled it wanted this."),
    # The result
    "no_output": ErrorSpec("The graph ended without its result.", "Is the graph's save node still connected?"),
    "output_wrong": ErrorSpec(
        "The finished result failed its check and was not announced.", "The message lists seen and wanted values."
    ),
    "answer_too_large": ErrorSpec(
        "The result does not fit into an answer.",
        "Give it a store (`r2` in the request, or the worker's MINIO_ variables), or ask for a smaller or shorter one.",
    ),
    "internal": ErrorSpec("The worker has a fault of its own.", "Report it with the job id and the worker's log."),
}


class JobError(Exception):
    """A job fails, with a code of the table, the field at fault, what was seen (`detail`) and what to do (`hint`).

    `detail` follows the table's sentence; `hint` replaces the table's. Never put a secret or a presigned URL in either.
    """

    def __init__(self, code: str, field: str | None = None, detail: str = "", hint: str | None = None):
        if code not in ERRORS:
            raise KeyError(f"error code {code!r} is not in worker/errors.py")
        self.code, self.field, self.detail = code, field, detail
        self.hint = ERRORS[code].hint if hint is None else hint
        self.message = f"{ERRORS[code].message} {detail}".strip()
        super().__init__(f"[{code}] {self.message}")

    def with_field(self, field: str) -> "JobError":
        """The same error, laid at the door of a request field (kept if one is named already)."""
        self.field = self.field or field
        return self

    def as_dict(self) -> dict[str, str | None]:
        """The `error` object of an answer."""
        return {"code": self.code, "message": self.message, "field": self.field, "hint": self.hint}
