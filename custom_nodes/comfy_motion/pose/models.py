"""The two ONNX models the pose comes from: YOLOv10 finds people, ViTPose finds 133 points on one of them.

Sessions are opened when first used and can be closed again: ViTPose-H holds about 2.5 GB that the sampler wants
back. onnxruntime falls back to the CPU without an error when its CUDA libraries are missing, so the provider that
really runs is read back from the session and logged.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import MotionError

log = logging.getLogger(__name__)

DETECTOR_INPUT = (640, 640)  # height, width
POSE_INPUT = (256, 192)
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_CUDA = (
    "CUDAExecutionProvider",
    # The default doubles its arena each time it grows and benchmarks every convolution for each batch size.
    {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"},
)


def providers_for(device: str, available: list[str]) -> list:
    """onnxruntime's provider list for "auto", "cuda" or "cpu", the CPU always last.

    ValueError for another device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, not {device!r}")
    use_cuda = device != "cpu" and "CUDAExecutionProvider" in available
    return ([_CUDA] if use_cuda else []) + ["CPUExecutionProvider"]


def fits(shape: list, wanted: tuple) -> bool:
    """Whether an ONNX shape can be `wanted`; a name instead of a number (or None in `wanted`) fits anything."""
    return len(shape) == len(wanted) and all(
        want is None or not isinstance(have, int) or have == want for have, want in zip(shape, wanted, strict=True)
    )


def kind_of(inputs: list, output: list) -> str:
    """What an ONNX file with this first input and first output shape is: "detector", "pose" or words for a person."""
    if fits(inputs, (None, 3, *DETECTOR_INPUT)) and len(output) == 3:
        if fits(output, (None, None, 6)):
            return "detector"
        return "a detector without YOLOv10's end-to-end output of x1, y1, x2, y2, score, class"
    if fits(inputs, (None, 3, *POSE_INPUT)) and len(output) == 4:
        if fits(output, (None, 133, 64, 48)):
            return "pose"
        return f"a pose model of {output[1]} points"
    return "another kind of model"


_WANTED = {
    "detector": ("a YOLOv10 detector, input [1,3,640,640], output [1,300,6]", "yolov10m.onnx"),
    "pose": ("a whole-body ViTPose, input [N,3,256,192], output [N,133,64,48]", "vitpose_h_wholebody_model.onnx"),
}
_NAMES = {"detector": "a YOLOv10 detector", "pose": "a whole-body ViTPose"}


class OnnxModel:
    """One ONNX file, opened at the first `run`. `kind` is "detector" or "pose".

    Another family of models says in a subclass what its two kinds are: `wanted` (kind: what it must be, its usual
    file), `names` (kind: what it is called) and `recognise`.
    """

    wanted: ClassVar[dict[str, tuple[str, str]]] = _WANTED
    names: ClassVar[dict[str, str]] = _NAMES

    def __init__(
        self, path: str | Path, kind: str, device: str = "auto", make_room: Callable[[int], None] | None = None
    ):
        """`make_room(bytes)` is called before a session is opened on the GPU."""
        providers_for(device, [])
        self.path, self.kind, self.device, self.make_room = Path(path), kind, device, make_room
        self._session = None

    @property
    def session(self):
        if self._session is None:
            self._session = self._open()
        return self._session

    @property
    def provider(self) -> str:
        """The provider that really runs: "CUDAExecutionProvider" or "CPUExecutionProvider"."""
        return self.session.get_providers()[0]

    @property
    def batch(self) -> int | None:
        """How many pictures a run takes; None = as many as one likes."""
        size = self.session.get_inputs()[0].shape[0]
        return size if isinstance(size, int) else None

    def close(self) -> None:
        """Gives the memory back; the next `run` opens the file again."""
        self._session = None

    def _open(self):
        """Raises MotionError model_file when the file cannot be read or is of another kind."""
        import onnxruntime

        available = onnxruntime.get_available_providers()
        providers = providers_for(self.device, available)
        if providers[0] is _CUDA:
            if hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # finds the CUDA libraries that torch brought along
            if self.make_room and self.path.is_file():
                self.make_room(int(self.path.stat().st_size * 1.3))
        try:
            session = onnxruntime.InferenceSession(str(self.path), providers=providers)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise MotionError(
                "model_file",
                f"{self.path.name} cannot be opened as an ONNX model: {str(error).strip()[:300]}",
                "download it again; a model with a separate data file needs that file beside it",
            ) from error
        self._check(session)
        self._report(session.get_providers()[0], available)
        return session

    def recognise(self, inputs: list, outputs: list[list]) -> str:
        """What a file with this first input shape and these output shapes is: a key of `wanted`, or words."""
        return kind_of(inputs, outputs[0])

    def _check(self, session) -> None:
        inputs, outputs = session.get_inputs()[0], [output.shape for output in session.get_outputs()]
        kind = self.recognise(inputs.shape, outputs)
        if kind != self.kind or inputs.type not in _DTYPES:
            wanted, name = self.wanted[self.kind]
            raise MotionError(
                "model_file",
                f"{self.path.name} is {self.names.get(kind, kind)} (input {inputs.shape} {inputs.type}, output "
                f"{', '.join(map(str, outputs))}), not {wanted}",
                f"choose {name} as the {self.kind} model",
            )

    def _report(self, provider: str, available: list[str]) -> None:
        log.info("%s runs on %s", self.path.name, provider)
        if self.device == "cuda" and provider != "CUDAExecutionProvider":
            missing = "CUDAExecutionProvider" not in available
            log.warning(
                "%s was to run on the GPU but runs on the CPU: %s.",
                self.path.name,
                "this onnxruntime has no CUDA (is the package onnxruntime installed beside onnxruntime-gpu?)"
                if missing
                else "onnxruntime could not load its CUDA libraries",
            )

    def run(self, pictures: np.ndarray) -> np.ndarray:
        """The first output for float32 [n, 3, h, w], as float32 [n, ...], in batches of the size the file takes."""
        return self.run_all(pictures)[0]

    def run_all(self, pictures: np.ndarray) -> list[np.ndarray]:
        """As `run`, every output."""
        meta = self.session.get_inputs()[0]
        step = self.batch or max(len(pictures), 1)
        outputs = []
        for start in range(0, len(pictures), step):
            part = pictures[start : start + step].astype(_DTYPES[meta.type], copy=False)
            missing = (self.batch or 0) - len(part)
            if missing > 0:
                part = np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)])
            results = self.session.run(None, {meta.name: part})
            outputs.append([np.asarray(result)[: len(pictures) - start] for result in results])
        return [np.concatenate(parts).astype(np.float32, copy=False) for parts in zip(*outputs, strict=True)]


class PoseModels:
    """The person detector and the whole-body pose model, each opened when first used."""

    onnx: ClassVar[type[OnnxModel]] = OnnxModel

    def __init__(
        self,
        detector: str | Path,
        pose: str | Path,
        device: str = "auto",
        make_room: Callable[[int], None] | None = None,
    ):
        """Paths of the ONNX files; device "auto" (CUDA if it is really there), "cuda" or "cpu"."""
        self.detector = self.onnx(detector, "detector", device, make_room)
        self.pose = self.onnx(pose, "pose", device, make_room)

    def close(self) -> None:
        """Gives both models' memory back; they are opened again when needed."""
        self.detector.close()
        self.pose.close()
