"""Opening ONNX files: the right kind, the provider that really runs, batches of a fixed size."""

import logging

import numpy as np
import onnx
import pytest

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.pose.models import OnnxModel, PoseModels, kind_of, providers_for
from demo.tiny_detectors import write_tiny_detectors


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_tiny_detectors(tmp_path_factory.mktemp("detection"))


def test_files_chosen_the_wrong_way_round_are_named(files):
    detector, pose = files
    swapped = PoseModels(pose, detector, "cpu")
    with pytest.raises(MotionError, match=r"^\[model_file\] vitpose.* is a whole-body ViTPose .*not a YOLOv10"):
        swapped.detector.run(np.zeros((1, 3, 640, 640), np.float32))
    with pytest.raises(MotionError, match=r"^\[model_file\] yolov10m.onnx is a YOLOv10 .*not a whole-body ViTPose"):
        swapped.pose.run(np.zeros((1, 3, 256, 192), np.float32))


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><title>Not found</title>", b"version https://git-lfs"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "yolov10m.onnx").write_bytes(content)
    with pytest.raises(MotionError, match=r"^\[model_file\] yolov10m.onnx cannot be opened"):
        OnnxModel(tmp_path / "yolov10m.onnx", "detector", "cpu").run(np.zeros((1, 3, 640, 640), np.float32))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(MotionError, match=r"^\[model_file\]"):
        _ = OnnxModel(tmp_path / "none.onnx", "pose", "cpu").session


@pytest.mark.parametrize(
    ("inputs", "output", "kind"),
    [
        ([1, 3, 640, 640], [1, 300, 6], "detector"),
        (["n", 3, "h", "w"], ["n", "boxes", 6], "detector"),
        (["n", 3, 256, 192], ["n", 133, 64, 48], "pose"),
        ([1, 3, 640, 640], [1, 84, 8400], "a detector without YOLOv10's end-to-end output"),
        ([1, 3, 256, 192], [1, 17, 64, 48], "a pose model of 17 points"),
        ([1, 3, 224, 224], [1, 1000], "another kind of model"),
    ],
)
def test_kinds(inputs, output, kind):
    assert kind_of(inputs, output).startswith(kind)


def test_providers():
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    names = [p if isinstance(p, str) else p[0] for p in providers_for("auto", both)]
    assert names == both
    assert providers_for("cpu", both) == providers_for("auto", both[1:]) == ["CPUExecutionProvider"]
    with pytest.raises(ValueError, match="tpu"):
        OnnxModel("x", "pose", "tpu")


def test_sessions_open_late_say_where_they_run_and_can_be_closed(files, caplog):
    caplog.set_level(logging.INFO)
    model = OnnxModel(files[1], "pose", "auto")
    assert model._session is None
    first = model.run(np.ones((2, 3, 256, 192), np.float32))
    assert f"{files[1].name} runs on {model.provider}" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    model.close()
    assert model._session is None
    np.testing.assert_array_equal(model.run(np.ones((2, 3, 256, 192), np.float32)), first)


def test_asking_for_cuda_and_getting_the_cpu_is_a_warning(files, caplog):
    model = OnnxModel(files[1], "pose", "cuda")
    if model.provider == "CUDAExecutionProvider":
        pytest.skip("this machine really has CUDA for onnxruntime")
    assert "was to run on the GPU but runs on the CPU" in caplog.text


def test_a_fixed_batch_is_filled_up_and_cut(files, tmp_path):
    graph = onnx.load(str(files[1]))
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(graph, str(tmp_path / "fixed.onnx"))
    fixed, free = (OnnxModel(p, "pose", "cpu") for p in (tmp_path / "fixed.onnx", files[1]))
    pictures = np.random.default_rng(0).normal(size=(5, 3, 256, 192)).astype(np.float32)
    assert (fixed.batch, free.batch) == (2, None)
    np.testing.assert_allclose(fixed.run(pictures), free.run(pictures), atol=1e-6)
    assert fixed.run(pictures).shape == (5, 133, 64, 48)
