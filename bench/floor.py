"""The least time that a job can take on a card: its arithmetic over the card's peak. No program can be below it.

    python -m bench.floor [--count]      --count: also count SVD's arithmetic again, where ComfyUI can be imported

Wan2.2 I2V A14B at 832x480, 81 frames: 21 latent frames of 104x60, patches of 2x2, so N = 21 * 52 * 30 = 32 760 tokens.
A multiplication and an addition are two operations. In each of the 40 blocks, with d = 5120 and f = 13 824:

    linears        2 N (6 d^2 + 2 d f)              19.58 TFLOP   q, k, v, o; q and o of cross attention; feed-forward
    attention      4 N^2 d                          21.98 TFLOP
    to 512 words   4 N 512 d + 2 * 512 * 2 d^2       0.40 TFLOP

which is 1678 TFLOP an evaluation. 40 steps with guidance are 80 evaluations, 134 PFLOP.
"""

import argparse
import sys
from dataclasses import dataclass
from typing import Any, cast

PEAKS: dict[str, tuple[float, float | None]] = {
    "RTX A6000 48 GB": (154.8, None),
    "RTX 4090 24 GB": (165.2, 330.3),
    "A100 80 GB": (312.0, None),
    "H100 80 GB, H200": (989.4, 1978.9),
}
"""Dense TFLOP/s of the tensor cores adding up in fp32, by the vendor's data sheets: bf16 (the same for fp16), and fp8
where the card has it. Their larger figures are for sparse weights, which these models do not have."""

WAN_DIM, WAN_FFN, WAN_BLOCKS, WORDS = 5120, 13824, 40, 512
SVD_EVALUATION = 79.9
"""TFLOP of SVD's UNet for 25 frames at 1024x576, once; guidance needs two. Counted by `count_svd`."""
SVD_DECODE = 173.6
"""TFLOP of its decoder for the same frames."""
MIMICMOTION_EVALUATION, MIMICMOTION_DECODE = 230.4, 499.9
"""TFLOP of the same UNet for MimicMotion's 72 frames at 576x1024, and of decoding them in eights. PoseNet has 0.4."""


@dataclass(frozen=True)
class Claim:
    """A time that one of the seeds states, and the arithmetic (TFLOP) that the job cannot do without."""

    job: str
    card: str
    seconds: float
    tflop: float

    @property
    def floors(self) -> list[float]:
        """Seconds: in bf16 and, where the card has it, with every single multiplication in fp8."""
        return [self.tflop / peak for peak in PEAKS[self.card] if peak]

    def text(self) -> str:
        verdict = "below the floor: impossible" if self.seconds < min(self.floors) else "above the floor"
        floors = " / ".join(f"{seconds:.0f}" for seconds in self.floors)
        return f"{self.job:37}{self.card:18}claimed {self.seconds:3.0f} s   floor {floors:>9} s   {verdict}"


def wan_evaluation(width: int, height: int, frames: int) -> float:
    """TFLOP of one evaluation of one expert: the blocks, which are all but 0.1 % of it."""
    tokens = ((frames - 1) // 4 + 1) * (width // 16) * (height // 16)
    linears = 2 * tokens * (6 * WAN_DIM**2 + 2 * WAN_DIM * WAN_FFN)
    attention = 4 * tokens**2 * WAN_DIM
    words = 4 * tokens * WORDS * WAN_DIM + 2 * WORDS * 2 * WAN_DIM**2
    return WAN_BLOCKS * (linears + attention + words) / 1e12


def claims() -> list[Claim]:
    """What seeds/001 and seeds/002 say, of the jobs by which they say it."""
    wan = wan_evaluation(832, 480, 81)
    svd = 25 * 2 * SVD_EVALUATION + SVD_DECODE
    return [
        Claim("i2v 832x480x81, 40 steps, guidance 5", "RTX A6000 48 GB", 35, 80 * wan),
        Claim("i2v 832x480x81, 40 steps, guidance 5", "A100 80 GB", 25, 80 * wan),
        Claim("i2v 832x480x81, 40 steps, guidance 5", "H100 80 GB, H200", 25, 80 * wan),
        Claim("i2v 832x480x81, 4 steps (turbo)", "RTX A6000 48 GB", 35, 4 * wan),
        Claim("animate 25 frames, 25 steps", "RTX 4090 24 GB", 45, svd),
    ]


def count_svd() -> dict[str, float]:
    """TFLOP of one UNet evaluation and of decoding, 25 frames at 1024x576, counted by torch without computing."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from worker.find_comfyui import find_comfyui
    from worker.settings import Settings

    sys.path.insert(0, str(find_comfyui(Settings()).path))
    import comfy.options

    # Only torch's own attention is counted.
    sys.argv[1:] = ["--cpu", "--use-pytorch-cross-attention"]
    comfy.options.enable_args_parsing()
    from bench.shapes import svd_unet, svd_vae

    sizes = {"x": (25, 8, 72, 128), "timesteps": (25,), "context": (25, 1, 1024), "y": (25, 768)}
    given = {name: torch.empty(size, device="meta") for name, size in sizes.items()}
    unet, vae = svd_unet(), cast(Any, svd_vae())
    with FlopCounterMode(display=False) as steps:
        unet(**given, num_video_frames=25, image_only_indicator=torch.empty((1, 25), device="meta"))
    with FlopCounterMode(display=False) as decoding:
        vae.decode(torch.empty((25, 4, 72, 128), device="meta"))
    return {"evaluation": steps.get_total_flops() / 1e12, "decode": decoding.get_total_flops() / 1e12}


def table() -> str:
    """The claims beside their floors."""
    wan = wan_evaluation(832, 480, 81)
    one = f"one evaluation: Wan2.2 I2V 832x480x81 {wan:.0f} TFLOP, SVD 25 frames 1024x576 {SVD_EVALUATION} TFLOP"
    chunk = 25 * 2 * MIMICMOTION_EVALUATION + MIMICMOTION_DECODE
    dance = f"a MimicMotion chunk, 72 frames, 25 steps: {chunk:.0f} TFLOP"
    dance += "".join(f"; {card} {chunk / peak:.0f} s" for card, (peak, _) in PEAKS.items())
    return "\n".join([one, dance, *(claim.text() for claim in claims())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", action="store_true")
    if parser.parse_args().count:
        print(count_svd())
    print(table())


if __name__ == "__main__":
    main()
