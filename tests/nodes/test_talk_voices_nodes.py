"""nodes/talk_voices.py in a real ComfyUI process."""

import types
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.comfy_import import import_comfyui

from .video_samples import beep, numbered_video

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def comfy(tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import folder_paths

    from custom_nodes.comfy_motion.nodes import talk_voices

    nodes = {node.define_schema().node_id: node for node in talk_voices.NODES}
    return types.SimpleNamespace(**nodes, nodes=nodes, paths=folder_paths)


@pytest.fixture(autouse=True)
def folders(comfy, tmp_path, monkeypatch):
    for name in ("input", "temp"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(comfy.paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path


def audio(seconds: float, rate: int = 44100, channels: int = 2) -> dict:
    times = torch.arange(round(seconds * rate)) / rate
    return {"waveform": (0.1 * torch.sin(2000 * times)).expand(1, channels, -1), "sample_rate": rate}


def test_ids_inputs_and_outputs_are_the_ones_of_the_graph(comfy):
    def shape(node):
        schema = node.define_schema()
        return [i.id for i in schema.inputs], [o.get_io_type() for o in schema.outputs]

    assert {name: shape(node) for name, node in comfy.nodes.items()} == {
        "CMLoadSound": (["file"], ["CM_SOUND"]),
        "CMAudioToSound": (["audio"], ["CM_SOUND"]),
        "CMPrepareVoices": (
            ["voice_1", "voice_2", "audio_order", "loudness", "trim_silence"],
            ["CM_VOICES", "CM_SOUND", "INT"],
        ),
    }
    for node in comfy.nodes.values():
        assert all(i.tooltip for i in node.define_schema().inputs)
        assert node.define_schema().category == "comfy-motion/multitalk"
        assert node.GET_NODE_INFO_V1()


def test_a_file_of_the_input_folder(comfy, folders):
    numbered_video(folders / "input" / "film.mp4", 30, sound=beep(0.5, 1.25))
    (folders / "input" / "notes.txt").write_text("no sound")
    (combo,) = comfy.CMLoadSound.define_schema().inputs
    assert combo.options == ["film.mp4"]
    sound = comfy.CMLoadSound.execute("film.mp4").args[0]
    assert float(sound.duration) == pytest.approx(1.25, abs=0.03)
    before = comfy.CMLoadSound.fingerprint_inputs("film.mp4")
    numbered_video(folders / "input" / "film.mp4", 30, sound=beep(0.6, 1.25))
    assert comfy.CMLoadSound.fingerprint_inputs("film.mp4") != before
    assert comfy.CMLoadSound.validate_inputs("film.mp4") is True
    assert "gone.wav" in comfy.CMLoadSound.validate_inputs("gone.wav")
    numbered_video(folders / "input" / "silent.mp4", 3)
    with pytest.raises(ValueError, match="no_sound"):
        comfy.CMLoadSound.execute("silent.mp4")


def test_voices_of_one_and_two(comfy, folders):
    one = comfy.CMAudioToSound.execute(audio(1.1)).args[0]
    two = comfy.CMAudioToSound.execute(audio(0.9, 48000, 1)).args[0]
    voices, sound, frames = comfy.CMPrepareVoices.execute(one, "one_after_another", -23.0, False).args
    assert (voices.num_voices, frames, sound) == (1, 27, one)
    voices, sound, frames = comfy.CMPrepareVoices.execute(one, "together", -23.0, False, two).args
    assert (voices.num_voices, frames, float(sound.duration)) == (2, 27, pytest.approx(1.1, abs=1e-3))
    assert not np.any(voices.speech[1][14400:])
    voices, sound, frames = comfy.CMPrepareVoices.execute(one, "one_after_another", 0.0, False, two).args
    assert (frames, float(sound.duration)) == (50, pytest.approx(2.0, abs=1e-3))
    assert np.abs(voices.speech[0][1000:16000]).max() == pytest.approx(0.1, abs=1e-3)
    assert (folders / "temp") in Path(sound.path).parents
    with pytest.raises(ValueError, match="no_sound"):
        comfy.CMAudioToSound.execute(None)
