"""nodes/video.py and nodes/convert.py in a real ComfyUI process: core's video types in, core's video types out."""

import io as bytes_io
import json
import types

import av
import numpy as np
import pytest
import torch

from tests.engine.comfy_import import import_comfyui

from .video_samples import beep, beep_in, numbered_video, numbers_in

pytestmark = pytest.mark.engine

RESAMPLE = {"fps": 24.0, "width": 320, "height": 176, "fit": "pad", "start_time": 0.0, "end_time": 0.0}


@pytest.fixture(scope="module")
def comfy(tmp_path_factory):
    """The nodes, and the parts of ComfyUI that the tests look at."""
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import comfy.cli_args
    import comfy.model_management
    import comfy.utils
    import folder_paths
    from comfy_api.latest import InputImpl, Types, io

    from custom_nodes.comfy_motion.nodes import video

    nodes = {node.define_schema().node_id: node for node in video.NODES}
    return types.SimpleNamespace(
        **nodes, nodes=nodes, args=comfy.cli_args.args, management=comfy.model_management, utils=comfy.utils,
        paths=folder_paths, Hidden=io.Hidden, InputImpl=InputImpl, Types=Types,
    )  # fmt: skip


@pytest.fixture
def output(comfy, tmp_path, monkeypatch):
    monkeypatch.setattr(comfy.paths, "output_directory", str(tmp_path / "output"))
    monkeypatch.setattr(comfy.paths, "temp_directory", str(tmp_path / "temp"))
    return tmp_path / "output"


def all_numbers(frames) -> list[int]:
    return numbers_in(frames.read(0, frames.num_frames))


def test_ids_inputs_and_outputs_are_the_ones_of_the_graph(comfy):
    def shape(node):
        schema = node.define_schema()
        return [i.id for i in schema.inputs], [o.get_io_type() for o in schema.outputs]

    assert {name: shape(node) for name, node in comfy.nodes.items()} == {
        "CMResampleVideo": (
            ["video", "fps", "width", "height", "fit", "start_time", "end_time"],
            ["CM_FRAMES", "CM_SOUND", "INT", "FLOAT"],
        ),
        "CMFramesToImages": (["frames", "start", "count"], ["IMAGE"]),
        "CMImagesToFrames": (["images", "fps"], ["CM_FRAMES"]),
        "CMMasksToMask": (["masks"], ["MASK"]),
        "CMMaskToMasks": (["mask"], ["CM_MASKS"]),
        "CMSaveVideo": (["frames", "sound", "filename_prefix", "crf", "preset"], ["VIDEO"]),
    }


def test_every_input_says_what_it_is(comfy):
    for node in comfy.nodes.values():
        assert all(i.tooltip for i in node.define_schema().inputs)
        assert node.define_schema().category == "comfy-motion/video"
        assert node.GET_NODE_INFO_V1()


def test_resample_a_file(comfy, tmp_path):
    path = numbered_video(tmp_path / "in.mp4", 60, sound=beep(1.0, 2.5))
    result = comfy.CMResampleVideo.execute(
        comfy.InputImpl.VideoFromFile(str(path)), **{**RESAMPLE, "start_time": 0.5, "end_time": 2.0}
    )
    frames, sound, count, fps = result.args
    assert all_numbers(frames) == list(range(12, 48))
    assert (count, fps, float(sound.start), float(sound.end)) == (36, 24.0, 0.5, 2.0)


def test_a_trimmed_video_and_one_in_memory(comfy, tmp_path, output):
    path = numbered_video(tmp_path / "in.mp4", 60)
    whole = comfy.InputImpl.VideoFromFile(str(path))
    frames, sound, *_ = comfy.CMResampleVideo.execute(whole.as_trimmed(1.0, 1.0), **RESAMPLE).args
    assert (all_numbers(frames), sound) == (list(range(24, 48)), None)
    frames = comfy.CMResampleVideo.execute(whole.as_trimmed(-1.0, 0.0), **RESAMPLE).args[0]
    assert all_numbers(frames) == list(range(36, 60))
    in_memory = comfy.InputImpl.VideoFromFile(bytes_io.BytesIO(path.read_bytes()))
    assert all_numbers(comfy.CMResampleVideo.execute(in_memory, **RESAMPLE).args[0]) == list(range(60))
    images = torch.from_numpy(np.stack([frames.read(i, i + 1)[0].numpy() for i in range(3)])) / 255
    made = comfy.InputImpl.VideoFromComponents(comfy.Types.VideoComponents(images=images, frame_rate=24))
    assert all_numbers(comfy.CMResampleVideo.execute(made, **RESAMPLE).args[0]) == [36, 37, 38]


def test_images_and_masks_there_and_back(comfy):
    images = torch.randint(0, 256, (20, 8, 6, 3)) / 255
    frames = comfy.CMImagesToFrames.execute(images, 23.976).args[0]
    assert (frames.num_frames, frames.width, frames.height, float(frames.fps)) == (20, 6, 8, 24000 / 1001)
    assert torch.equal(comfy.CMFramesToImages.execute(frames, 0, 0).args[0], images)
    assert torch.equal(comfy.CMFramesToImages.execute(frames, 3, 2).args[0], images[3:5])
    assert torch.equal(comfy.CMFramesToImages.execute(frames, 18, 10).args[0], images[18:])
    with pytest.raises(ValueError, match="range_outside_video"):
        comfy.CMFramesToImages.execute(frames, 20, 1)
    mask = (torch.rand(18, 8, 6) > 0.5).float()
    masks = comfy.CMMaskToMasks.execute(mask).args[0]
    assert set(masks.read(0, 18).unique().tolist()) == {0, 1}
    assert torch.equal(comfy.CMMasksToMask.execute(masks).args[0], mask)
    assert comfy.CMMaskToMasks.execute(mask[0]).args[0].num_frames == 1


def save(comfy, path, prefix="clips/test"):
    frames, sound, *_ = comfy.CMResampleVideo.execute(comfy.InputImpl.VideoFromFile(str(path)), **RESAMPLE).args
    hidden = {comfy.Hidden.prompt: {"7": {"class_type": "CMSaveVideo"}}, comfy.Hidden.extra_pnginfo: {"workflow": {}}}
    node = comfy.CMSaveVideo.PREPARE_CLASS_CLONE({"hidden_inputs": hidden})
    return node.execute(frames, prefix, 17.0, "veryfast", sound)


def test_save(comfy, tmp_path, output, monkeypatch):
    path = numbered_video(tmp_path / "in.mp4", 20, sound=beep(0.5, 1.0))
    monkeypatch.setattr(comfy.args, "disable_metadata", False)
    result = save(comfy, path)
    saved = result.ui.as_dict()["images"][0]
    assert (saved["filename"], saved["subfolder"], saved["type"]) == ("test_00001_.mp4", "clips", "output")
    file = output / "clips" / "test_00001_.mp4"
    video = result.args[0]
    assert (video.get_dimensions(), video.get_frame_count(), video.get_frame_rate()) == ((320, 176), 20, 24)
    assert beep_in(file) == pytest.approx(0.5, abs=0.002)
    with av.open(str(file)) as source:
        assert json.loads(source.metadata["prompt"])["7"]["class_type"] == "CMSaveVideo"
        assert source.metadata["workflow"] == "{}"
        numbers = numbers_in(frame.to_ndarray(format="rgb24")[2:-2] for frame in source.decode(video=0))
    assert numbers == list(range(20))
    monkeypatch.setattr(comfy.args, "disable_metadata", True)
    save(comfy, path)
    with av.open(str(output / "clips" / "test_00002_.mp4")) as source:
        assert "prompt" not in source.metadata


def test_saving_reports_frames_and_stops_when_interrupted(comfy, tmp_path, output, monkeypatch):
    path = numbered_video(tmp_path / "in.mp4", 40)
    seen = []

    def hook(done, total, preview, node_id=None):
        seen.append((done, total))
        if done >= 16:
            comfy.management.interrupt_current_processing(True)

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    # ComfyUI holds back reports that follow each other closely; the pace of this test must not matter.
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0.0)
    with pytest.raises(comfy.management.InterruptProcessingException):
        save(comfy, path)
    assert seen == [(0, 40), (8, 40), (16, 40)]
    assert list((output / "clips").iterdir()) == []
    assert not comfy.management.processing_interrupted()
