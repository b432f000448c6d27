"""What the audio encoder hears in each voice, 25 steps a second, kept on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import MotionError
from ..scratch import scratch_folder
from . import wav2vec2

if TYPE_CHECKING:
    from .voices import Voices

NORMALIZE = ("auto", "on", "off")
_BYTES = 4


@dataclass(frozen=True)
class VoiceFeatures:
    """The hidden states of every voice, in a file each: float32 [layers, num_frames, channels].

    The files lie in the scratch folder of the prompt and are open only while `read` runs.
    """

    paths: tuple[Path, ...]
    num_frames: int
    layers: int
    channels: int

    @property
    def num_voices(self) -> int:
        return len(self.paths)

    def read(self, voice: int, start: int, stop: int) -> torch.Tensor:
        """Frames start..stop-1 of voice 0 or 1: float32 [stop - start, layers, channels] on the CPU."""
        if not (0 <= voice < self.num_voices and 0 <= start <= stop <= self.num_frames):
            raise ValueError(
                f"no frames {start} to {stop} of voice {voice}: there are {self.num_voices} of {self.num_frames}"
            )
        out = np.empty((stop - start, self.layers, self.channels), np.float32)
        for layer in range(self.layers):
            at = (layer * self.num_frames + start) * self.channels * _BYTES
            flat = np.fromfile(self.paths[voice], np.float32, (stop - start) * self.channels, offset=at)
            out[:, layer] = flat.reshape(stop - start, self.channels)
        return torch.from_numpy(out)


@dataclass
class _Steps:
    """Layers written, of all voices."""

    progress: Callable[[int, int], None] | None
    total: int
    done: int = 0

    def pause(self) -> None:
        if self.progress is not None:
            self.progress(self.done, self.total)


def memory_needed(network: Any, num_frames: int) -> int:
    """Bytes beside the weights: state, keys and values of every frame, and 160 MB of pieces whatever the length.

    Base encoder: 42 MB at 3 minutes, 138 MB at 10; large: 55 and 184.
    """
    return 3 * num_frames * _channels(network) * _BYTES + 160 * 2**20


def _channels(network: Any) -> int:
    return network.encoder.layers[0].attention.embed_dim


def _network(audio_encoder: Any) -> Any:
    network = getattr(audio_encoder, "model", None)
    parts = ("feature_extractor", "feature_projection", "do_normalize")
    if not all(hasattr(network, part) for part in parts):
        raise MotionError(
            "model_file",
            f"The audio encoder is a {type(network).__name__}; MultiTalk hears with wav2vec2.",
            "Choose wav2vec2-chinese-base in Load Audio Encoder.",
        )
    return network


@torch.inference_mode()
def encode_voices(
    audio_encoder: Any, voices: Voices, normalize: str = "auto", progress: Callable[[int, int], None] | None = None
) -> VoiceFeatures:
    """Runs core's wav2vec2 over each voice, one at a time, in the order of MultiTalk's published code.

    audio_encoder: AUDIO_ENCODER of core's loader. normalize: bring each voice to mean 0 and variance 1 first (auto =
    what core has for this encoder: off for the base, on for the large one). progress(done, total) is called after
    every layer and, with the same numbers, between pieces; what it raises ends the work.

    Silence within or for the whole of a voice is zeros through the network, not zero features. Raises MotionError:
    model_file (another encoder, or weights that give infinities), voice_too_short (under 640 samples, 40 ms),
    invalid_value (normalize).
    """
    import comfy.model_management

    network = _network(audio_encoder)
    if normalize not in NORMALIZE:
        raise MotionError("invalid_value", f"normalize is {normalize!r}.", f"It is one of {', '.join(NORMALIZE)}.")
    if voices.num_frames < 1:
        raise MotionError("voice_too_short", "The voices are shorter than one frame (40 ms).", "Record more.")
    channels, layers = _channels(network), len(network.encoder.layers)
    comfy.model_management.load_models_gpu(
        [audio_encoder.patcher], memory_required=memory_needed(network, voices.num_frames)
    )
    whether = bool(network.do_normalize) if normalize == "auto" else normalize == "on"
    folder = scratch_folder("voices")
    paths = tuple(folder / f"voice_{index + 1}.f32" for index in range(len(voices.speech)))
    steps = _Steps(progress, len(paths) * layers)
    try:
        for speech, path in zip(voices.speech, paths, strict=True):
            samples = wav2vec2.Samples(speech, whether, audio_encoder.load_device)
            _write(network, samples, voices.num_frames, path, steps)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return VoiceFeatures(paths, voices.num_frames, layers, channels)


def _write(network: Any, samples: wav2vec2.Samples, num_frames: int, path: Path, steps: _Steps) -> None:
    """One voice's hidden states into `path`."""
    with path.open("wb") as file:
        for layer, state in enumerate(wav2vec2.hidden_states(network, samples, num_frames, steps.pause)):
            if not bool(torch.isfinite(state).all()):
                raise MotionError(
                    "model_file",
                    f"Layer {layer + 1} of the audio encoder gave values that are not finite.",
                    "Check the file of the audio encoder, and the sound for samples that are not numbers.",
                )
            state.cpu().numpy().tofile(file)
            steps.done += 1
            steps.pause()
