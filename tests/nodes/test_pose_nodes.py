"""The pose nodes inside real ComfyUI code: folders, schemas, execution, cancelling."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.tiny_detectors import write_tiny_detectors

ROOT = Path(__file__).parents[2]
PLACES = [os.environ.get("COMFYUI_PATH"), ROOT / ".comfyui", Path.home() / "comfy" / "ComfyUI"]
COMFYUI = next((Path(p) for p in PLACES if p and (Path(p) / "comfyui_version.py").is_file()), None)

# Only the pose nodes are imported, as ComfyUI would: the pack is a package of its own, not `custom_nodes.…`.
SCRIPT = """
import sys, types
sys.argv = ["main.py", "--cpu", "--base-directory", {base!r}]
sys.path.insert(0, {comfyui!r})
import comfy.options; comfy.options.enable_args_parsing()
import folder_paths
torch_suffixes = set(folder_paths.supported_pt_extensions)
for name, path in (("comfy_motion", {pack!r}), ("comfy_motion.nodes", {pack!r} + "/nodes")):
    module = types.ModuleType(name); module.__path__ = [path]; sys.modules[name] = module
from comfy_motion.nodes import pose
from comfy_motion.errors import MotionError
from comfy_motion.video.frames import TensorFrames
import torch, comfy.model_management as management

def inputs(node):
    return node.INPUT_TYPES()["required"]

def files():
    return inputs(pose.LoadPoseModels)["detector"][1]["options"]

assert files() == ["vitpose_h_wholebody_model.onnx", "yolov10m.onnx"], files()
folder_paths.add_model_folder_path("detection", {extra!r})  # what extra_model_paths.yaml does, here after our import
assert "other-yolov10m.onnx" in files(), files()
assert folder_paths.get_filename_list("detection") == ["core.safetensors"], folder_paths.get_filename_list("detection")
assert folder_paths.supported_pt_extensions == torch_suffixes
assert [n.GET_SCHEMA().node_id for n in pose.NODES] == [
    "CMLoadPoseModels", "CMDetectPose", "CMRetargetPose", "CMDrawPose", "CMFaceCrop"]
for node in pose.NODES:
    for name, (kind, options) in inputs(node).items():
        assert kind.startswith("CM_") or options["tooltip"], (node, name)

models = pose.LoadPoseModels.execute("other-yolov10m.onnx", "vitpose_h_wholebody_model.onnx", "auto")[0]
frames = TensorFrames(torch.randint(0, 255, (3, 90, 160, 3), dtype=torch.uint8))
found = pose.DetectPose.execute(frames, models, -1.0, -1.0)[0]
assert models.pose._session is None, "the model's memory is given back"
pointed = pose.DetectPose.execute(frames, models, 0.5, 0.5)[0]
assert (pointed.boxes == found.boxes).all()
drawn = pose.DrawPose.execute(pose.RetargetPose.execute(found, found)[0], 160, 96)[0]
assert tuple(drawn.read(0, 3).shape) == (3, 96, 160, 3) and drawn.read(0, 3).any()
assert tuple(pose.FaceCrop.execute(frames, found, 0.2)[0].read(1, 3).shape) == (2, 512, 512, 3)
try:
    pose.DetectPose.execute(TensorFrames(torch.zeros(2, 90, 160, 3, dtype=torch.uint8)), models, -1.0, -1.0)
    raise SystemExit("nobody was not refused")
except MotionError as error:
    assert error.code == "no_person"
management.interrupt_current_processing(True)
try:
    pose.DetectPose.execute(frames, models, -1.0, -1.0)
    raise SystemExit("cancelling did not stop the work")
except management.InterruptProcessingException:
    pass
print("all held")
"""


@pytest.mark.engine
def test_pose_nodes_in_comfyui(tmp_path):
    if COMFYUI is None:
        if os.environ.get("REQUIRE_COMFYUI"):
            pytest.fail("ComfyUI was not found: set COMFYUI_PATH")
        pytest.skip("ComfyUI was not found: set COMFYUI_PATH")
    write_tiny_detectors(tmp_path / "models" / "detection")
    (tmp_path / "models" / "detection" / "core.safetensors").touch()
    write_tiny_detectors(tmp_path / "extra", prefix="other-")
    script = SCRIPT.format(
        base=str(tmp_path),
        comfyui=str(COMFYUI),
        pack=str(ROOT / "custom_nodes" / "comfy_motion"),
        extra=str(tmp_path / "extra"),
    )
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:] or done.stdout[-3000:]
    assert "all held" in done.stdout
