"""MultiTalk's voice features and audio tokens, told once more from the rules of the published code.

The network is transformers' own Wav2Vec2Model, whole and in one go; the interpolation is numpy's; windows and
projection are loops over frames, in float64. `wrong` names a mistake to make: what the comparison must notice.
"""

import numpy as np
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

WRONG_FEATURES = ("after_the_transformer", "corners_apart", "input_kept", "other_normalization", "last_layer_first")
WRONG_TOKENS = ("off_by_one", "voices_swapped", "first_like_the_others", "not_mirrored")


def small_network(large: bool = False, seed: int = 1, **changes) -> Wav2Vec2Model:
    """Random weights, eval mode. large: LayerNorm everywhere and before each layer, as in wav2vec2-large."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256} | changes
    config = Wav2Vec2Config(
        feat_extract_norm="layer" if large else "group",
        conv_bias=large,
        do_stable_layer_norm=large,
        layer_norm_eps=1e-5,
        attn_implementation="eager",
        **sizes,
    )
    torch.manual_seed(seed)
    network = Wav2Vec2Model(config).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight.add_(torch.randn_like(weight) * 0.2)  # so that a norm or bias left out shows
    return network


def _interpolated(features: np.ndarray, count: int, wrong: str) -> torch.Tensor:
    """[n, channels] to [1, count, channels]: straight lines, first on first and last on last."""
    n = len(features)
    # Places in float32, as PyTorch has them in the published code; in float64 the features differ by up to 1e-5.
    places = np.arange(count, dtype=np.float32) * (np.float32(n - 1) / np.float32(max(count - 1, 1)))
    if wrong == "corners_apart":
        places = (np.arange(count) + 0.5) * n / count - 0.5
    lines = [np.interp(places, np.arange(n), channel) for channel in features.T]
    return torch.from_numpy(np.stack(lines, axis=1)).float()[None]


@torch.no_grad()
def voice_features(network: Wav2Vec2Model, speech: np.ndarray, normalize: bool, wrong: str = "") -> torch.Tensor:
    """float32 [frames, layers, channels] of one voice [n] at 16 kHz."""
    frames = len(speech) * 25 // 16000
    if wrong == "other_normalization":
        normalize = not normalize
    values = Wav2Vec2FeatureExtractor(do_normalize=normalize)(speech, sampling_rate=16000).input_values[0]
    heard = network.feature_extractor(torch.from_numpy(np.asarray(values, np.float32))[None]).transpose(1, 2)
    if wrong != "after_the_transformer":
        heard = _interpolated(heard[0].numpy(), frames, wrong)
    states: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, given, out: states.append(out[0] if isinstance(out, tuple) else out))
        for layer in network.encoder.layers
    ]
    if wrong == "input_kept":
        hooks.append(network.encoder.layers[0].register_forward_pre_hook(lambda _, given: states.append(given[0])))
    last = network.encoder(network.feature_projection(heard)[0]).last_hidden_state
    for hook in hooks:
        hook.remove()
    states = [*states[:-1], last]  # of the large network, the last one is normalised
    states = states[: len(network.encoder.layers)]
    if wrong == "last_layer_first":
        states.reverse()
    if wrong == "after_the_transformer":
        states = [_interpolated(state[0].numpy(), frames, "") for state in states]
    return torch.cat(states).movedim(0, 1)


def _heard(features: torch.Tensor, frame: int, mirrored: bool, wrong: str) -> list[torch.Tensor]:
    """The five steps around a frame, each [layers, channels]."""
    steps, total = [], len(features)
    for step in range(frame - 2, frame + 3):
        if wrong == "off_by_one":
            step += 1
        if mirrored and step >= total and wrong != "not_mirrored":
            step = total - 1 - (step - total)
        steps.append(features[min(max(step, 0), total - 1)])
    return steps


def _tokens(projection, heard: list[torch.Tensor]) -> torch.Tensor:
    """Steps of the voice, 5 or 8 of [layers, channels], through the projection: [32, channels]."""
    weights = {name: weight.double() for name, weight in projection.state_dict().items()}

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    x = torch.stack(heard).double().flatten()
    x = linear("proj1" if len(heard) == 5 else "proj1_vf", x).clamp(min=0)
    x = linear("proj3", linear("proj2", x).clamp(min=0)).reshape(32, -1)
    x = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    return x * weights["norm.weight"] + weights["norm.bias"]


def audio_tokens(
    projection, voices: list[torch.Tensor], start: int, length: int, mirrored: bool, wrong: str = ""
) -> torch.Tensor:
    """float64 [latent frames, voices * 32, channels]; voices: [frames, layers, channels] each."""
    if wrong == "voices_swapped":
        voices = voices[::-1]
    latents = []
    for first in range(start - 3, start + length, 4):
        people = []
        for features in voices:
            around = [_heard(features, frame, mirrored, wrong) for frame in range(first, first + 4)]
            later = [*around[0][:3], around[1][2], around[2][2], *around[3][2:]]
            whole = first >= start or wrong == "first_like_the_others"
            people.append(_tokens(projection, later if whole else around[3]))
        latents.append(torch.cat(people))
    return torch.stack(latents)
