"""Tracking: the streamed, forgetting session against transformers used plainly with the whole video in memory."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from custom_nodes.comfy_motion.errors import MotionError
from custom_nodes.comfy_motion.pose.keypoints import Pose
from custom_nodes.comfy_motion.segment import session as session_module
from custom_nodes.comfy_motion.segment import track
from custom_nodes.comfy_motion.segment.model import Sam2, _read_config
from custom_nodes.comfy_motion.segment.session import StreamedSession
from custom_nodes.comfy_motion.segment.track import key_frames, segments, track_person
from custom_nodes.comfy_motion.video.frames import Masks, TensorFrames
from demo.tiny_sam2 import write_tiny_sam2

WIDTH, HEIGHT = 96, 64
# COCO-WholeBody numbers of nose, R shoulder, L shoulder, R hip, L hip, R ankle, L ankle; the neck is computed.
NOSE, R_SHOULDER, L_SHOULDER, R_HIP, L_HIP, R_ANKLE, L_ANKLE = 0, 6, 5, 12, 11, 16, 15


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """On a model this small a second thread only waits: many times slower when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tiny_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture
def sam2(weights):
    return Sam2.load(weights, "fp32")


def video(num_frames: int) -> TensorFrames:
    """Soft random colours, another picture each frame."""
    generator = torch.Generator().manual_seed(3)
    small = torch.rand(num_frames, 3, 6, 9, generator=generator)
    large = torch.nn.functional.interpolate(small, size=(HEIGHT, WIDTH), mode="bilinear")
    return TensorFrames((large * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous(), Fraction(24))


def pose_of(num_frames: int, **changes) -> Pose:
    """Points anywhere in the picture, of every score."""
    rng = np.random.default_rng(5)
    parts = {
        "points": (rng.random((num_frames, 133, 2)) * [WIDTH, HEIGHT]).astype(np.float32),
        "scores": rng.random((num_frames, 133)).astype(np.float32),
        "boxes": np.zeros((num_frames, 5), np.float32),
        "width": WIDTH,
        "height": HEIGHT,
        "fps": Fraction(24),
    }
    return Pose(**{**parts, **changes})


def prompts(pose: Pose, frame: int) -> list[list[int]]:
    """The authors' eight points: 0, 1, 2, 5, 8, 11, 10, 13 of the body of 20, cut to whole pixels."""
    points = pose.points[frame].astype(np.float64)
    neck = (points[R_SHOULDER] + points[L_SHOULDER]) / 2
    rest = [points[index] for index in (R_SHOULDER, L_SHOULDER, R_HIP, L_HIP, R_ANKLE, L_ANKLE)]
    return [[int(x), int(y)] for x, y in (points[NOSE], neck, *rest)]


def plainly(weights, frames: TensorFrames, pose: Pose, parts: dict[int, tuple[int, list[int]]]) -> torch.Tensor:
    """Masks [F, h, w] by the library alone: whole segments in memory. `parts`: start -> (stop, key frames)."""
    from transformers import Sam2ImageProcessor, Sam2VideoModel, Sam2VideoProcessor, Sam2VideoVideoProcessor

    # from_pretrained on both sides: weights loaded another way lie differently in memory, and the sums round otherwise.
    folder = weights.parent / "plain"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(weights)
    model = Sam2VideoModel.from_pretrained(folder, config=_read_config(weights), local_files_only=True).eval()
    size = {"height": model.config.image_size, "width": model.config.image_size}
    processor = Sam2VideoProcessor(Sam2ImageProcessor(size=size), Sam2VideoVideoProcessor(size=size))
    masks = []
    for start, (stop, keys) in parts.items():
        session = processor.init_video_session(video=frames.images[start:stop].permute(0, 3, 1, 2).contiguous())
        for key in keys:
            points = [[prompts(pose, start + key)]]
            processor.add_inputs_to_inference_session(session, key, 1, input_points=points, input_labels=[[[1] * 8]])
            model(session, frame_idx=key)
        for output in model.propagate_in_video_iterator(session):
            masks.append(processor.post_process_masks([output.pred_masks], [[HEIGHT, WIDTH]])[0][0, 0])
    return torch.stack(masks).to(torch.uint8)


@pytest.fixture(scope="module")
def wanted(weights):
    """36 frames in two segments; the first long enough for memories (6 back) and pointers (15 back) to be forgotten."""
    return plainly(weights, video(36), pose_of(36), {0: (32, [0, 8, 16, 24]), 32: (36, [0])})


def tracked(sam2: Sam2) -> Masks:
    """The same by our way."""
    return track_person(video(36), pose_of(36), sam2, segment=32)


def test_streamed_masks_are_those_of_the_plain_library(sam2, wanted):
    masks = tracked(sam2)
    seen = masks.read(0, 36)
    assert torch.equal(seen, wanted)
    assert (masks.width, masks.height, masks.num_frames, masks.fps) == (WIDTH, HEIGHT, 36, 24)
    share = seen.float().mean(dim=(1, 2))
    assert 0.05 < share.min() < share.max() < 0.5  # a blob: neither nothing nor everything
    assert (seen[1:] != seen[:-1]).flatten(1).any(1).all()  # and not the same one all the time


def remembering(memories: int, pointers: int):
    """So many frames back, where the library looks back 6 and 15."""

    def break_it(monkeypatch):
        original = StreamedSession.__init__

        def broken(self, *args):
            original(self, *args)
            self._memories, self._pointers = memories, pointers

        monkeypatch.setattr(StreamedSession, "__init__", broken)

    return break_it


def replacing(module, name: str, value):
    return lambda monkeypatch: monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize(
    "break_it",
    [
        pytest.param(remembering(5, 5), id="results forgotten after five frames"),
        pytest.param(remembering(6, 14), id="a pointer forgotten one frame early"),
        pytest.param(replacing(track, "key_frames", lambda length: [0]), id="one key frame only"),
        pytest.param(replacing(track, "PROMPT_POINTS", [0, 1, 2, 5, 8, 11, 9, 12]), id="knees for ankles"),
        pytest.param(replacing(track, "segments", lambda n, length: [range(n)]), id="not cut into segments"),
        pytest.param(replacing(StreamedSession, "num_frames", 10), id="a wrong length of the segment"),
    ],
)
def test_a_wrong_tracker_gives_other_masks(sam2, wanted, monkeypatch, break_it):
    break_it(monkeypatch)
    assert not torch.equal(tracked(sam2).read(0, 36), wanted)


def test_key_frames_by_the_authors_rule():
    assert [key_frames(n) for n in (1, 2, 3, 4)] == [[0]] * 4
    assert key_frames(5) == [0, 1, 2, 3, 4]
    assert key_frames(7) == [0, 1, 2, 3, 4, 5, 6]
    assert key_frames(8) == [0, 2, 4, 6]
    assert key_frames(11) == [0, 2, 4, 6, 8, 10]
    assert key_frames(400) == [0, 100, 200, 300]
    assert {len(key_frames(n)) for n in range(5, 500)} == {4, 5, 6, 7}


def test_segments_of_four_hundred():
    assert segments(1) == [range(1)]
    assert segments(400) == [range(400)]
    assert segments(801) == [range(400), range(400, 800), range(800, 801)]


class CountedFrames(TensorFrames):
    """Remembers which frames were read."""

    def read(self, start: int, stop: int) -> torch.Tensor:
        self.seen = [*getattr(self, "seen", []), *range(start, stop)]
        return super().read(start, stop)


def test_memory_stays_flat_and_each_frame_is_encoded_once(sam2, monkeypatch):
    """Counted in the library's own dictionaries, over 60 frames."""
    held, pictures, steps = [], [], []
    forget = StreamedSession.forget

    def counting(self, frame_idx):
        forget(self, frame_idx)
        outputs = self.output_dict_per_obj[0]
        tracked = outputs["non_cond_frame_outputs"].values()
        assert self.processed_frames is None
        assert not self.frames_tracked_per_obj[0]
        assert not any("pred_masks" in o for i, o in outputs["cond_frame_outputs"].items() if i <= frame_idx)
        assert len(self.cache._vision_features) <= 1
        everything = [v for kept in outputs.values() for output in kept.values() for v in output.values()]
        if frame_idx >= 0:
            held.append(
                (len(tracked), sum("maskmem_features" in o for o in tracked), sum(v.nbytes for v in everything))
            )

    monkeypatch.setattr(StreamedSession, "forget", counting)
    sam2.model.vision_encoder.register_forward_hook(lambda *_: pictures.append(1))
    frames = CountedFrames(video(60).images)
    track_person(frames, pose_of(60), sam2, on_progress=lambda done, total: steps.append((done, total)))
    assert len(held) == 60
    assert all(entries <= 15 and memories <= 6 for entries, memories, _ in held)
    assert max(size for *_, size in held[30:]) <= max(size for *_, size in held[:30])
    assert len(pictures) == 60
    assert sorted(frames.seen) == list(range(60))
    assert steps == [(done, 60) for done in range(1, 61)]


def test_half_precision_works_on_a_cpu(weights):
    masks = track_person(video(9), pose_of(9), Sam2.load(weights, "bf16")).read(0, 9)
    assert 0.05 < masks.float().mean() < 0.5


def test_no_mask_at_all_is_refused_and_leaves_no_file(sam2, monkeypatch, tmp_path):
    torch.nn.init.constant_(sam2.model.mask_decoder.pred_obj_score_head.proj_out.bias, -10)  # "the object is not there"
    monkeypatch.setattr("custom_nodes.comfy_motion.segment.disk.scratch_folder", lambda kind: _folder(tmp_path, kind))
    with pytest.raises(MotionError) as caught:
        track_person(video(3), pose_of(3), sam2)
    assert caught.value.code == "empty_mask"
    assert list(tmp_path.iterdir()) == []


def test_a_stop_in_mid_video_leaves_no_file(sam2, monkeypatch, tmp_path):
    monkeypatch.setattr("custom_nodes.comfy_motion.segment.disk.scratch_folder", lambda kind: _folder(tmp_path, kind))

    def stop(done: int, total: int) -> None:
        if done == 7:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        track_person(video(9), pose_of(9), sam2, stop)
    assert list(tmp_path.iterdir()) == []


def _folder(parent, kind: str):
    folder = parent / kind
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "pose", [pose_of(4), pose_of(5, width=WIDTH * 2), pose_of(5, retargeted=True)], ids=["length", "size", "retargeted"]
)
def test_the_pose_of_another_video_is_refused(sam2, pose):
    with pytest.raises(ValueError, match="Detect pose"):
        track_person(video(5), pose, sam2)


def test_a_person_who_leaves_and_returns_has_empty_masks_in_between(sam2, monkeypatch):
    """The middle segment of three finds nobody: later steps get empty masks there and no error."""

    def blind(frames, start, stop, prompts, sam2, take, encoded):
        there = np.ones((HEIGHT, WIDTH), bool) if start != 2 else np.zeros((HEIGHT, WIDTH), bool)
        for _ in range(start, stop):
            take(there)

    monkeypatch.setattr(session_module, "track_segment", blind)
    masks = track_person(video(6), pose_of(6), sam2, segment=2)
    assert masks.read(0, 6).flatten(1).any(1).tolist() == [True, True, False, False, True, True]
