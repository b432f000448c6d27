"""Wan2.2 I2V without ComfyUI: diffusers' transformers and VAE, transformers' UMT5, and a plain Euler loop.

Independent of core and of our nodes: what a file holds is read by name, and every rule is written out here. The rules
are those of the published code: shift of the schedule, the expert by the timestep, mask and picture as extra channels.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from demo import tiny_wan, tiny_wan_i2v
from demo import tiny_wan_shapes as sizes

from .test_avatar_transformer import diffusers_weights

TRAINED_STEPS = 1000
TEXT_LENGTH = 512


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The numbers of a file in float32."""
    return {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}


def with_lora(model: dict[str, torch.Tensor], lora: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """W + alpha / rank * up @ down."""
    result = dict(model)
    for name in [name for name in lora if name.endswith(".alpha")]:
        layer = name.removesuffix(".alpha")
        down, up = lora[f"{layer}.lora_down.weight"], lora[f"{layer}.lora_up.weight"]
        target = layer.removeprefix("diffusion_model.") + ".weight"
        result[target] = result[target] + lora[name] / down.shape[0] * up @ down
    return result


def transformer(model: dict[str, torch.Tensor]):
    """diffusers' Wan with these weights, none left over on either side."""
    from diffusers import WanTransformer3DModel

    network = WanTransformer3DModel(
        num_attention_heads=sizes.DIM // 128,
        in_channels=36,
        ffn_dim=sizes.FFN,
        num_layers=tiny_wan_i2v.LAYERS,
    )
    network.load_state_dict(diffusers_weights(model), strict=True)
    return network.eval()


def encode_text(path: Path, text: str) -> torch.Tensor:
    """[1, 512, 4096]: transformers' UMT5 of the file, what lies behind the text's end set to zero."""
    import sentencepiece
    from transformers import UMT5Config, UMT5EncoderModel

    held = weights(path)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=held.pop("spiece_model").numpy().tobytes())
    config = UMT5Config(
        vocab_size=len(held["shared.weight"]),
        d_model=sizes.TEXT_WIDTH,
        d_kv=64,
        d_ff=sizes.TEXT_FFN,
        num_layers=1,
        num_heads=sizes.TEXT_HEADS,
        feed_forward_proj="gated-gelu",
    )
    model = UMT5EncoderModel(config).eval()
    missing, unexpected = model.load_state_dict(held, strict=False)
    assert (set(missing) <= {"encoder.embed_tokens.weight"}, unexpected) == (True, [])
    tokens = [*tokenizer.encode(text), 1]
    ids = torch.tensor([tokens + [0] * (TEXT_LENGTH - len(tokens))])
    used = (torch.arange(TEXT_LENGTH) < len(tokens)).long()[None]
    return model(input_ids=ids, attention_mask=used).last_hidden_state * used[..., None]


def vae(path: Path):
    """diffusers' Wan VAE with the file's weights."""
    from diffusers import AutoencoderKLWan
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    held = weights(path)
    model = AutoencoderKLWan(base_dim=held["decoder.head.0.gamma"].shape[0])
    model.load_state_dict(convert_wan_vae_to_diffusers(held), strict=True)
    return model.eval()


def picture(path: Path) -> torch.Tensor:
    """[1, 3, h, w] in -1..1."""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).movedim(-1, 0)[None].float() / 127.5 - 1


@dataclass
class Reference:
    """The files of one models folder as one video model."""

    high: torch.nn.Module
    low: torch.nn.Module
    vae: torch.nn.Module
    text_encoder: Path

    @classmethod
    def of(cls, models: Path, turbo: bool = False) -> "Reference":
        names = (
            (tiny_wan_i2v.HIGH_NOISE, tiny_wan_i2v.HIGH_NOISE_LORA),
            (tiny_wan_i2v.LOW_NOISE, tiny_wan_i2v.LOW_NOISE_LORA),
        )
        experts = [weights(models / name) for name, _ in names]
        if turbo:
            experts = [
                with_lora(expert, weights(models / lora)) for expert, (_, lora) in zip(experts, names, strict=True)
            ]
        high, low = (transformer(expert) for expert in experts)
        return cls(high, low, vae(models / tiny_wan.VAE), models / tiny_wan.TEXT_ENCODER)

    def condition(self, image: torch.Tensor, frames: int) -> torch.Tensor:
        """[1, 20, t, h/8, w/8]: the mask, 1 on the first latent, and the picture followed by grey, encoded."""
        video = torch.zeros((1, 3, frames, *image.shape[-2:]))
        video[:, :, 0] = image
        encoded = (self.vae.encode(video).latent_dist.mode() - self._mean) / self._std
        mask = torch.zeros_like(encoded[:, :4])
        mask[:, :, 0] = 1
        return torch.cat((mask, encoded), dim=1)

    def sample(
        self, image: torch.Tensor, prompt: str, negative: str, *, frames: int, steps: int, guidance: float, seed: int,
        shift: float = 5.0, boundary: float = 0.9,
    ) -> torch.Tensor:  # fmt: skip
        """Latents [1, 16, t, h/8, w/8] as the VAE decodes them (not normalised)."""
        condition = self.condition(image, frames)
        texts = [encode_text(self.text_encoder, text) for text in (prompt, negative)]
        x = torch.randn(condition[:, :16].shape, generator=torch.Generator().manual_seed(seed))
        times = [(TRAINED_STEPS - int(k * TRAINED_STEPS / steps)) / TRAINED_STEPS for k in range(steps)]
        sigmas = [shift * t / (1 + (shift - 1) * t) for t in times] + [0.0]
        for sigma, following in itertools.pairwise(sigmas):
            expert = self.high if sigma >= boundary else self.low
            velocity, without = (
                expert(torch.cat((x, condition), dim=1), torch.tensor([1000 * sigma]), text, return_dict=False)[0]
                for text in texts
            )
            x = x + (following - sigma) * (without + guidance * (velocity - without))
        return x * self._std + self._mean

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """[frames, h, w, 3] in 0..1."""
        return (self.vae.decode(latents).sample[0].movedim(0, -1) / 2 + 0.5).clamp(0, 1)

    @property
    def _mean(self) -> torch.Tensor:
        return torch.tensor(self.vae.config.latents_mean).view(1, -1, 1, 1, 1)

    @property
    def _std(self) -> torch.Tensor:
        return torch.tensor(self.vae.config.latents_std).view(1, -1, 1, 1, 1)
