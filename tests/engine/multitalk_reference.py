"""The published rules of MultiTalk's attention in slow plain formulas: one example, one head, one frame at a time.

Written from the rules (map, positions, rotary embedding, audio attention), not from any code. The switches of `Rules`
are the mistakes that the tests must see.
"""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Rules:
    """As published; anything else is a mistake made on purpose."""

    background: bool = True
    heads_dropped: int = 0
    keys: tuple[float, float] = (2.0, 22.0)
    divided_by_the_mask: bool = True
    largest_head: bool = False
    norm_eps: float = 1e-6


PUBLISHED = Rules()


def speaker_map(q: torch.Tensor, k: torch.Tensor, rows: torch.Tensor, rules: Rules = PUBLISHED) -> torch.Tensor:
    """[R, L] from q [L, heads, D], k [S, heads, D] of the first latent frame, rows [R, S]."""
    seen = []
    for head in range(q.shape[1] - rules.heads_dropped):
        table = (q[:, head] @ k[:, head].T / math.sqrt(q.shape[2])).softmax(1)
        sums = [(table * row).sum(1) / (row.sum() if rules.divided_by_the_mask else 1) for row in rows]
        seen.append(torch.stack(sums))
    heads = torch.stack(seen)
    return heads.amax(0) if rules.largest_head else heads.mean(0)


def positions(looks: torch.Tensor, rules: Rules = PUBLISHED) -> torch.Tensor:
    """[L] from a map [3, L]."""
    places = []
    lines = [looks[person] for person in range(3 if rules.background else 2)]
    for token in range(looks.shape[1]):
        values = [line[token].item() for line in lines]
        whose = values.index(max(values))
        if whose == 2:
            places.append(12.0)
            continue
        low, high = lines[whose].min().item(), lines[whose].max().item()
        places.append(20.0 * whose + 4.0 * (values[whose] - low) / (high - low + 1e-8))
    return torch.tensor(places, dtype=looks.dtype)


def rotate(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """x [L, heads, D] turned pair by pair by its places [L], base 10000."""
    turned = x.clone()
    for pair in range(x.shape[2] // 2):
        angle = (places * 10000 ** (-2 * pair / x.shape[2]))[:, None]
        even, odd = x[:, :, 2 * pair], x[:, :, 2 * pair + 1]
        turned[:, :, 2 * pair] = even * angle.cos() - odd * angle.sin()
        turned[:, :, 2 * pair + 1] = odd * angle.cos() + even * angle.sin()
    return turned


def linear(layer: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return x @ layer.weight.to(x).T + layer.bias.to(x)


def audio_attention(module, x, tokens, places=None, rules: Rules = PUBLISHED) -> torch.Tensor:
    """[T * S, C] heard by normalised x [T * S, C] from tokens [T, A, C_audio]; places [T * S] for two voices."""
    frames, audio, heads = tokens.shape[0], tokens.shape[1], module.num_heads
    result = []
    for frame, rows in enumerate(x.chunk(frames)):
        q = linear(module.q_linear, rows).unflatten(1, (heads, -1))
        k, v = linear(module.kv_linear, tokens[frame]).unflatten(1, (2, heads, -1)).unbind(1)
        if places is not None:
            q = rotate(q, places.chunk(frames)[frame])
            k = rotate(k, torch.tensor([rules.keys[0]] * (audio // 2) + [rules.keys[1]] * (audio // 2)).to(x))
        heard = [(q[:, head] @ k[:, head].T / math.sqrt(q.shape[2])).softmax(1) @ v[:, head] for head in range(heads)]
        result.append(linear(module.proj, torch.cat(heard, 1)))
    return torch.cat(result)


def normalise(norm: torch.nn.LayerNorm, x: torch.Tensor, rules: Rules = PUBLISHED) -> torch.Tensor:
    centred = x - x.mean(1, keepdim=True)
    spread = centred.pow(2).mean(1, keepdim=True)
    return centred / (spread + rules.norm_eps).sqrt() * norm.weight.to(x) + norm.bias.to(x)


class HandInserted:
    """The reference in the place of core's two patches: one example at a time, whatever the batch.

    heard: for each row of the batch, its tokens and its masks (None: one person).
    """

    def __init__(self, blocks, heard: list[tuple[torch.Tensor, torch.Tensor | None]], rules: Rules = PUBLISHED):
        self._blocks, self._heard, self._rules = blocks, heard, rules
        self._places: list[torch.Tensor | None] = []

    def look(self, given: dict) -> torch.Tensor:
        self._places = []
        for q, k, (_, rows) in zip(given["q"], given["k"], self._heard, strict=True):
            if rows is None:
                self._places.append(None)
                continue
            looks = speaker_map(q, k[: rows.shape[1]], rows, self._rules)
            self._places.append(positions(looks, self._rules))
        return given["x"]

    def listen(self, given: dict) -> torch.Tensor:
        block = self._blocks[given["transformer_options"]["block_index"]]
        rows = []
        for x, (tokens, _), places in zip(given["x"], self._heard, self._places, strict=True):
            normalised = normalise(block.norm_x, x, self._rules)
            rows.append(x + audio_attention(block.audio_cross_attn, normalised, tokens, places, self._rules))
        return torch.stack(rows)

    @property
    def patches(self) -> dict:
        return {"attn1_patch": [self.look], "attn2_patch": [self.listen]}
