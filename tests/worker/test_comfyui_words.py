"""Reading what ComfyUI says, without a server: refusals, failures and the frames of its websocket."""

import json
import struct

import pytest

from worker.comfy_errors import failure, rejection
from worker.events import EndHint, NodeProgress, NodeStarted, Text, read_frame

# Reading what ComfyUI says (no server)

REAL_REJECTION = {
    "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""},
    "node_errors": {
        "3": {
            "errors": [
                {
                    "type": "value_not_in_list",
                    "message": "Value not in list",
                    "details": "vae_name: 'x.safetensors' not in ['pixel_space']",
                    "extra_info": {"input_name": "vae_name", "received_value": "x.safetensors"},
                }
            ],
            "dependent_outputs": ["2"],
            "class_type": "VAELoader",
        }
    },
}


def test_a_real_rejection_in_plain_words():
    error = rejection(400, REAL_REJECTION, {"3": {"class_type": "VAELoader", "_meta": {"title": "VAE"}}})
    assert "\"VAE\" (VAELoader): the model file 'x.safetensors' (input vae_name) is not there." in error.message


def test_a_gated_file_that_is_missing_comes_with_its_page_and_the_variable():
    gated = json.loads(json.dumps(REAL_REJECTION).replace("x.safetensors", "svd_xt_1_1.safetensors"))
    for body, told in ((gated, True), (REAL_REJECTION, False)):
        hint = rejection(400, body, {}).hint
        assert "handler.py --check" in hint
        assert ("stabilityai/stable-video-diffusion-img2vid-xt-1-1" in hint and "HF_TOKEN" in hint) == told


@pytest.mark.parametrize("body", ["<html>502</html>", {}, {"error": "no"}, None, []])
def test_a_rejection_of_unknown_shape_is_still_one(body):
    assert rejection(502, body, {}).code == "graph_rejected"


def test_an_accepted_graph_is_no_rejection():
    assert rejection(200, {"prompt_id": "x", "node_errors": {}}, {}) is None


@pytest.mark.parametrize(
    ("kind", "message", "code"),
    [
        ("torch.OutOfMemoryError", "CUDA out of memory.", "out_of_memory"),
        ("torch.AcceleratorError", "x\nThis error means you ran out of memory on your GPU.\n", "out_of_memory"),
        ("MemoryError", "", "out_of_memory"),
        ("comfy_motion.errors.MotionError", "[no_face] Nobody looks. Hint: Look.", "no_face"),
        ("comfy_motion.errors.MotionError", "[no_such_code] Nobody looks.", "node_failed"),
        ("ValueError", "[no_face] words that only look like ours", "node_failed"),
        ("", "", "node_failed"),
    ],
)
def test_the_code_of_a_failed_node(kind, message, code):
    error = {"node_id": "1", "node_type": "X", "exception_type": kind, "exception_message": message}
    assert failure(error, {}).code == code


def frame(kind: str, **data) -> str:
    return json.dumps({"type": kind, "data": data})


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (frame("executing", node="5", prompt_id="mine"), [NodeStarted("5")]),
        (frame("executing", node="5"), [NodeStarted("5")]),
        (frame("executing", node="5", prompt_id="other"), []),
        (frame("executing", node=None, prompt_id="mine"), [EndHint()]),
        (frame("execution_success", prompt_id="mine"), [EndHint()]),
        (frame("execution_error", prompt_id="other"), []),
        (frame("status", status={}), []),
        (frame("progress", node="5", value=2, max=7, prompt_id="mine"), [NodeProgress("5", 2, 7)]),
        (frame("progress", value="broken", prompt_id="mine"), []),
        ("no json", []),
        ("[1, 2]", []),
        (b"", []),
        (struct.pack(">II", 3, 1) + b"5window 2 of 5", [Text("5", "window 2 of 5")]),
        (struct.pack(">II", 1, 2) + b"a picture", []),
    ],
)
def test_reading_a_frame(raw, events):
    assert read_frame(raw, "mine") == events
