"""video/retime.py and the nodes over it: each frame at its time, as long as it was, in time with the sound."""

import types
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from custom_nodes.comfy_motion.video.frames import TensorFrames
from custom_nodes.comfy_motion.video.retime import RetimedFrames
from tests.engine.comfy_import import import_comfyui

from .video_reading import refusal
from .video_samples import beep, beep_in, numbered_video, numbers_in

RATES = st.sampled_from([1, 6, 7, 12, 15, 24, 25, 30, 60, Fraction(24000, 1001), Fraction(24000, 2002)])


def counted(count: int, fps) -> TensorFrames:
    """Frames whose first pixel is their number."""
    return TensorFrames(torch.arange(count, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 2, 2, 3), Fraction(fps))


def numbers(frames) -> list[int]:
    return [int(frame[0, 0, 0]) for chunk in frames.chunks(7) for frame in chunk]


@given(count=st.integers(1, 200), own=RATES, wanted=RATES)
def test_each_frame_is_the_one_that_is_seen_at_its_time(count, own, wanted):
    own, wanted = Fraction(own), Fraction(wanted)
    retimed = RetimedFrames(counted(count, own), wanted)
    seen = numbers(retimed)
    assert len(seen) == retimed.num_frames
    assert retimed.num_frames == 1 or abs(retimed.num_frames / wanted - count / own) <= 1 / (2 * wanted)
    for k, number in enumerate(seen):
        assert number / own <= k / wanted
        assert k / wanted < (number + 1) / own or number == count - 1


def test_the_same_rate_changes_nothing():
    assert numbers(RetimedFrames(counted(30, 15), Fraction(15))) == list(range(30))


def test_12_to_15_repeats_every_fourth():
    assert numbers(RetimedFrames(counted(8, 12), Fraction(15))) == [0, 0, 1, 2, 3, 4, 4, 5, 6, 7]


def test_60_to_15_takes_every_fourth_and_reads_little_at_once():
    reads = []

    class Watched(TensorFrames):
        def read(self, start, stop):
            reads.append(stop - start)
            return super().read(start, stop)

    source = counted(200, 60)
    retimed = RetimedFrames(Watched(source.images, source.fps), Fraction(15))
    assert retimed.read(0, 50)[:, 0, 0, 0].tolist() == list(range(0, 200, 4))
    assert max(reads) <= 32


def test_the_length_of_the_range_counts_where_it_is_given():
    """Every fourth of 65 frames at 24 are 17, which stand for 68: the range is 3 frames shorter."""
    frames = counted(17, 6)
    assert RetimedFrames(frames, Fraction(24)).num_frames == 68
    assert RetimedFrames(frames, Fraction(24), Fraction(65, 24)).num_frames == 65
    assert RetimedFrames(frames, Fraction(24), Fraction(69, 24)).num_frames == 69  # the last one stays


@pytest.mark.parametrize("length", [0, 4])
def test_a_length_of_another_video_is_refused(length):
    error = refusal(lambda: RetimedFrames(counted(17, 6), Fraction(24), Fraction(length)))
    assert error.code == "invalid_value"
    assert "2.833 s" in error.message


@pytest.fixture(scope="module")
def comfy(tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    from comfy_api.latest import InputImpl

    from custom_nodes.comfy_motion.nodes import stride, video

    return types.SimpleNamespace(video=InputImpl.VideoFromFile, write=video.write_mp4, nodes=stride.NODES)


@pytest.mark.engine
def test_ids_inputs_and_outputs_are_the_ones_of_the_graph(comfy):
    def shape(node):
        schema = node.define_schema()
        assert all(i.tooltip for i in schema.inputs)
        assert node.GET_NODE_INFO_V1()
        return [i.id for i in schema.inputs], [o.get_io_type() for o in schema.outputs]

    assert {node.define_schema().node_id: shape(node) for node in comfy.nodes} == {
        "CMSampleStride": (
            ["video", "sample_stride", "start_time", "end_time", "max_frames"],
            ["CM_FRAMES", "CM_SOUND", "INT", "FLOAT", "FLOAT"],
        ),
        "CMRetime": (["frames", "fps", "length"], ["CM_FRAMES", "INT"]),
    }


@pytest.mark.engine
@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25), Fraction(60)])
@pytest.mark.parametrize("stride", [1, 3])
def test_picture_and_sound_stay_together(comfy, tmp_path, rate, stride):
    """A beep 1.5 s into the file is heard with the frame that was seen then, whatever the source's rate."""
    sample, retime = comfy.nodes
    count = int(4 * rate)
    path = numbered_video(tmp_path / "in.mp4", count, rate=rate, sound=beep(1.5, 4.0))
    sampled = sample.execute(comfy.video(str(path)), stride, 0.5, 3.5, 0)
    frames, sound, num_frames, fps, length = sampled.result
    assert (frames.num_frames, fps, length) == (num_frames, float(rate / stride), 3.0)
    result, written = retime.execute(frames, 15.0, length).result
    assert written == 45
    comfy.write(tmp_path / "out.mp4", result, sound, 10, "ultrafast", None, {})
    assert abs(beep_in(tmp_path / "out.mp4") - 1.0) < 0.03
    (heard,) = numbers_in(result.read(15, 16))
    assert 0 <= 1.5 - heard / rate + Fraction(1, 1000) <= (stride + 1) / rate


@pytest.mark.engine
def test_no_more_frames_than_asked_end_the_sound_too(comfy, tmp_path):
    path = numbered_video(tmp_path / "in.mp4", 120, sound=beep(1.0, 5.0))
    frames, sound, num_frames, _, length = comfy.nodes[0].execute(comfy.video(str(path)), 2, 0.0, 0.0, 16).result
    assert (num_frames, frames.num_frames) == (16, 16)
    assert length == pytest.approx(32 / 24)
    assert float(sound.duration) == pytest.approx(32 / 24)
