"""MultiTalk's speaker map, positions and attention as they are written down, slowly, in float32: the rules in full.

Takes the place of the layers of talk/patches.py. The map's table of tokens by tokens is made head by head. Every block
is held against ours on the same input, and the evaluation goes on from ours: with random weights 40 blocks make a large
difference of any rounding, and where a token looks equally at two people the last bit decides whose it is. So the map,
the positions and what is heard are compared each for itself.
"""

from typing import Any

import torch

from .measuring import ours, relative_l2


def looks(q: torch.Tensor, k_ref: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """q [L, H, D], k_ref [S, H, D], rows [R, S]: how much a token looks at each row's, [R, L]."""
    found = torch.zeros(len(rows), len(q), device=q.device)
    for head in range(q.shape[1]):
        table = (q[:, head].float() @ k_ref[:, head].float().T / q.shape[2] ** 0.5).softmax(-1)
        found += (table @ (rows / rows.sum(1, keepdim=True)).T).T
    return found / q.shape[1]


def positions(seen: torch.Tensor) -> torch.Tensor:
    """seen [3, L] (person 1, person 2, background) to [L]: 0..4, 20..24, 12. The 1e-8 is the published code's."""
    scaled = [(row - row.min()) / (row.max() - row.min() + 1e-8) * 4 for row in seen[:2]]
    line = torch.stack([scaled[0], scaled[1] + 20, torch.full_like(scaled[0], 12)])
    return line.gather(0, seen.argmax(0, keepdim=True))[0]


def turned(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """x [..., L, H, D] by rotary embedding of places [L], base 10000, neighbouring channels together."""
    width = x.shape[-1]
    speeds = 10000 ** (-torch.arange(0, width, 2, device=x.device) / width)
    turn = torch.polar(torch.ones((), device=x.device), places[:, None, None] * speeds)
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2)


class SlowLayers:
    """Instead of OwnLayers of talk/patches.py, with its results; batch of one. What differed at most is in `found`."""

    def __init__(self, audio_scale: float):
        self._scale = audio_scale
        self.found: dict[str, float] = {}

    def look(self, q: torch.Tensor, k: torch.Tensor, rows: torch.Tensor, options: dict) -> torch.Tensor:
        """Our places; how far they are from the slow ones is noted."""
        attention = ours("talk.attention")
        fast = attention.speaker_map(q, k[:, : rows.shape[1]], rows)
        places = attention.positions(fast)
        slow = looks(q[0], k[0, : rows.shape[1]], rows)
        # Of their differences from one over the tokens, near which they all are. Random weights make tokens ever more
        # alike from block to block, until half precision sees no difference: the first block's is the one to judge by.
        apart = relative_l2(slow - slow.mean(), fast[0] - fast[0].mean())
        self.found.setdefault("relative L2 of the first map", apart)
        self._note("of any map", apart)
        self._note("positions", (positions(fast[0]) - places[0]).abs().max().item())
        self._note("tokens of another person", (slow.argmax(0) != fast[0].argmax(0)).float().mean().item())
        return places

    def listen(self, model: Any, x: torch.Tensor, tokens: torch.Tensor, places: Any, options: dict) -> torch.Tensor:
        block = model.blocks[options["block_index"]]
        module, frames, wide = block.audio_cross_attn, len(tokens), x.shape[2]
        with ours("talk.patches").published_eps(block.norm_x):
            seen = block.norm_x(x)
        split = (module.num_heads, wide // module.num_heads)
        q = module.q_linear(seen)[0].unflatten(-1, split).float()
        k, v = (part.unflatten(-1, split).float() for part in module.kv_linear(tokens).chunk(2, -1))
        if places is not None:
            half = tokens.shape[1] // 2
            speakers = torch.tensor([2.0, 22.0], device=x.device).repeat_interleave(half)
            q, k = turned(q, places[0]), turned(k, speakers)
        heard = []
        for frame, mine in enumerate(q.chunk(frames)):
            table = torch.einsum("qhd,khd->hqk", mine, k[frame]) / split[1] ** 0.5
            heard.append(torch.einsum("hqk,khd->qhd", table.softmax(-1), v[frame]))
        fast = ours("talk.attention").audio_attention(module, seen, tokens, places)
        self._note("relative L2", relative_l2(module.proj(torch.cat(heard).flatten(1).to(x)[None]), fast))
        return torch.add(x, fast, alpha=self._scale)

    def _note(self, name: str, value: float) -> None:
        before = self.found.get(name, value)
        self.found[name] = before if before >= value or before != before else value  # NaN stays
