"""Encode Voices as ComfyUI calls it: its inputs, its refusals, an end asked for, nothing left behind."""

import types
from pathlib import Path

import numpy as np
import pytest
import torch

from .multitalk_voice_reference import small_network
from .test_multitalk_features import comfy, encode, encoder, one_thread, speech, voices  # noqa: F401

pytestmark = pytest.mark.engine


def scratch() -> set[Path]:
    import folder_paths

    return set((Path(folder_paths.get_temp_directory()) / "comfy_motion").glob("*/voices-*"))


def refused(*arguments) -> str:
    from custom_nodes.comfy_motion.errors import MotionError

    before = scratch()
    with pytest.raises(MotionError) as raised:
        encode(*arguments)
    assert scratch() == before
    return f"{raised.value}"


def test_the_node():
    from custom_nodes.comfy_motion.nodes.talk_features import NODES, EncodeVoices

    assert [node.GET_SCHEMA().node_id for node in NODES] == ["CMEncodeVoices"]
    inputs = EncodeVoices.INPUT_TYPES()["required"]
    assert {name: kind[0] for name, kind in inputs.items()} == {
        "audio_encoder": "AUDIO_ENCODER", "voices": "CM_VOICES", "normalize": "COMBO",
    }  # fmt: skip
    assert all(options["tooltip"] for _, options in inputs.values())
    assert EncodeVoices.GET_SCHEMA().outputs[0].io_type == "CM_VOICE_FEATURES"
    assert EncodeVoices.check_lazy_status(voices=1, normalize="auto") == ["audio_encoder"]
    assert EncodeVoices.check_lazy_status(audio_encoder=1, voices=1, normalize="auto") == []
    made = EncodeVoices.execute(encoder(small_network()), voices(speech(1)), "auto")[0]
    assert tuple(made.read(0, 0, 25).shape) == (25, 3, 64)


def test_another_encoder_is_refused_by_name():
    whisper = types.SimpleNamespace(model=torch.nn.Linear(1, 1))
    said = refused(whisper, voices(speech(1)))
    assert all(word in said for word in ("[model_file]", "Linear", "wav2vec2"))


def test_broken_weights_are_found_in_the_layer_where_they_are():
    broken = encoder(small_network())
    broken.model.encoder.layers[1].feed_forward.output_dense.weight.data[3, 3] = float("inf")
    assert "Layer 2 " in refused(broken, voices(speech(1)))


def test_too_short_and_an_unknown_choice_are_refused():
    small = encoder(small_network())
    assert "[voice_too_short]" in refused(small, voices(np.zeros(639, np.float32)))
    assert "auto, on, off" in refused(small, voices(speech(1)), "maybe")


@pytest.mark.parametrize("after", [0, 3, 9])
def test_an_end_can_be_asked_for_anywhere(after):
    """It is noticed between pieces, not only between layers, and the file that was begun is gone."""

    class Asked(Exception):
        pass

    reports = []

    def progress(done, total):
        reports.append((done, total))
        if len(reports) > after:
            raise Asked

    before = scratch()
    with pytest.raises(Asked):
        encode(encoder(small_network()), voices(speech(6)), "auto", progress)
    assert scratch() == before
    assert len(reports) == after + 1


def test_progress_counts_layers_of_all_voices():
    reports = []
    encode(encoder(small_network()), voices(speech(1), speech(1, 2)), "auto", lambda *r: reports.append(r))
    assert reports == sorted(reports)
    assert {done for done, _ in reports} == set(range(7))
    assert {total for _, total in reports} == {6}
