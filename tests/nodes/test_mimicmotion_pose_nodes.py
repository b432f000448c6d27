"""MimicMotion's pose nodes inside real ComfyUI code: folders, schemas, execution, refusals, cancelling."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.tiny_detectors import write_tiny_detectors
from demo.tiny_dwpose import write_tiny_dwpose

ROOT = Path(__file__).parents[2]
PLACES = [os.environ.get("COMFYUI_PATH"), ROOT / ".comfyui", Path.home() / "comfy" / "ComfyUI"]
COMFYUI = next((Path(p) for p in PLACES if p and (Path(p) / "comfyui_version.py").is_file()), None)

SCRIPT = """
import sys, types
sys.argv = ["main.py", "--cpu", "--base-directory", {base!r}]
sys.path.insert(0, {comfyui!r})
import comfy.options; comfy.options.enable_args_parsing()
for name, path in (("comfy_motion", {pack!r}), ("comfy_motion.nodes", {pack!r} + "/nodes")):
    module = types.ModuleType(name); module.__path__ = [path]; sys.modules[name] = module
from comfy_motion.nodes import convert, mimicmotion_pose as nodes
from comfy_motion.errors import MotionError
from comfy_motion.video.frames import TensorFrames
import torch, comfy.model_management as management

def inputs(node):
    found = node.INPUT_TYPES()
    return found["required"] | found.get("optional", {{}})

assert [n.GET_SCHEMA().node_id for n in nodes.NODES] == [
    "CMLoadDWPose", "CMDetectDWPose", "CMFitDWPose", "CMDrawDWPose", "CMFitReference"]
for node in nodes.NODES:
    for name, (kind, options) in inputs(node).items():
        assert options["tooltip"], (node, name)
offered = inputs(nodes.CMLoadDWPose)["detector"][1]["options"]
assert offered == ["dw-ll_ucoco_384.onnx", "vitpose_h_wholebody_model.onnx", "yolov10m.onnx", "yolox_l.onnx"], offered

models = nodes.CMLoadDWPose.execute("yolox_l.onnx", "dw-ll_ucoco_384.onnx", "auto")[0]
video = TensorFrames(torch.randint(0, 255, (3, 90, 160, 3), dtype=torch.uint8))
poses = nodes.CMDetectDWPose.execute(video, models)[0]
assert models.pose._session is None and models.detector._session is None, "the models' memory is given back"

landscape = torch.rand(1, 90, 160, 3)
answer = nodes.CMFitReference.execute(landscape, 64)
image, width, height = answer.args
assert (width, height, tuple(image.shape)) == (64, 64, (1, 64, 64, 3)), (width, height)
image, width, height = nodes.CMFitReference.execute(landscape, 256).args
assert (width, height, tuple(image.shape)) == (256, 448, (1, 448, 256, 3)), (width, height)
assert "cropped around its centre to 256x448" in nodes.CMFitReference.execute(landscape, 256).ui["text"][0]
assert nodes.CMFitReference.execute(torch.rand(1, 448, 256, 3), 256).ui is None
assert nodes.CMFitReference.execute(landscape, 256, "as the picture").args[1:] == (448, 256)

one = nodes.CMDetectDWPose.execute(convert.CMImagesToFrames.execute(image, 24.0)[0], models)[0]
fitted = nodes.CMFitDWPose.execute(poses, one, width, height)[0]
assert (fitted.width, fitted.height, fitted.num_frames) == (256, 448, 3)
drawn = nodes.CMDrawDWPose.execute(fitted, width, height)[0]
assert (drawn.width, drawn.height, drawn.num_frames, drawn.fps) == (256, 448, 3, video.fps)
assert tuple(drawn.read(0, 3).shape) == (3, 448, 256, 3) and drawn.read(0, 3).any()
apart = (fitted.frames[0].points[0, :18] - one.frames[0].points[0, :18])
assert abs(apart[:, 1]).max() < 0.1, apart

for frames, words in ((1, "reference picture"), (2, "driving video")):
    try:
        nodes.CMDetectDWPose.execute(TensorFrames(torch.zeros(frames, 90, 160, 3, dtype=torch.uint8)), models)
        raise SystemExit("nobody was not refused")
    except MotionError as error:
        assert error.code == "no_person" and words in error.message, error
    assert models.detector._session is None
management.interrupt_current_processing(True)
try:
    nodes.CMDetectDWPose.execute(video, models)
    raise SystemExit("cancelling did not stop the work")
except management.InterruptProcessingException:
    pass
print("all held")
"""


@pytest.mark.engine
def test_mimicmotion_pose_nodes_in_comfyui(tmp_path):
    if COMFYUI is None:
        if os.environ.get("REQUIRE_COMFYUI"):
            pytest.fail("ComfyUI was not found: set COMFYUI_PATH")
        pytest.skip("ComfyUI was not found: set COMFYUI_PATH")
    write_tiny_detectors(tmp_path / "models" / "detection")
    write_tiny_dwpose(tmp_path / "models" / "detection")
    pack = ROOT / "custom_nodes" / "comfy_motion"
    script = SCRIPT.format(base=str(tmp_path), comfyui=str(COMFYUI), pack=str(pack))
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:] or done.stdout[-3000:]
    assert "all held" in done.stdout
