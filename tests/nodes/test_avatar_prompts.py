"""Encoded prompts on disk: found again, told apart, and a damaged file is no file."""

import os

import pytest
import torch

from custom_nodes.comfy_motion.avatar import prompt_cache
from custom_nodes.comfy_motion.avatar.prompt_cache import PromptCache, read_conditioning, write_conditioning


@pytest.fixture
def encoder(tmp_path):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(b"weights of an encoder")
    return path


@pytest.fixture
def cache(tmp_path):
    return PromptCache(tmp_path / "own", [tmp_path / "shipped"])


def conditioning(seed: float = 0.5) -> list:
    return [
        [torch.full((1, 4, 8), seed).bfloat16(), {"pooled_output": None, "attention_mask": torch.ones(1, 4), "n": 2}]
    ]


def same(one: list, other: list) -> bool:
    (cond, options), (cond2, options2) = one[0], other[0]
    tensors = torch.equal(cond, cond2) and torch.equal(options["attention_mask"], options2["attention_mask"])
    plain = [{key: value for key, value in o.items() if key != "attention_mask"} for o in (options, options2)]
    return tensors and cond.dtype == cond2.dtype and plain[0] == plain[1]


def test_what_was_saved_is_found_and_only_that(cache, encoder, tmp_path):
    cache.save(encoder, "a person", conditioning())
    assert same(cache.find(encoder, "a person"), conditioning())
    assert cache.find(encoder, "a person ") is None
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"weights of another encoder")
    assert cache.find(other, "a person") is None
    moved = tmp_path / "renamed.safetensors"
    moved.write_bytes(encoder.read_bytes())
    assert cache.find(moved, "a person") is not None  # the file's content counts, not its name


def test_equal_prompts_are_equal_files(cache, encoder, tmp_path):
    files = {PromptCache(tmp_path / str(n)).save(encoder, "a person", conditioning()).read_bytes() for n in range(8)}
    assert len(files) == 1


def test_shipped_prompts_are_read_and_never_written(cache, encoder, tmp_path):
    PromptCache(tmp_path / "shipped").save(encoder, "a person", conditioning())
    before = sorted(path.name for path in (tmp_path / "shipped").iterdir())
    assert same(cache.find(encoder, "a person"), conditioning())
    cache.save(encoder, "another", conditioning())
    assert sorted(path.name for path in (tmp_path / "shipped").iterdir()) == before


@pytest.mark.parametrize("damage", [b"", b"not a prompt", None])
def test_a_damaged_file_is_a_miss_and_is_replaced(cache, encoder, damage, caplog):
    path = cache.save(encoder, "a person", conditioning())
    path.write_bytes(path.read_bytes()[:-7] if damage is None else damage)
    assert cache.find(encoder, "a person") is None
    assert path.name in caplog.text
    cache.save(encoder, "a person", conditioning(0.25))
    assert same(cache.find(encoder, "a person"), conditioning(0.25))


def test_a_foreign_safetensors_file_is_no_prompt(tmp_path):
    from safetensors.torch import save_file

    save_file({"0.cond": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="format"):
        read_conditioning(tmp_path / "x.safetensors")


def test_what_cannot_be_written_is_not_kept(cache, encoder, caplog):
    assert cache.save(encoder, "a person", [[torch.ones(1), {"hooks": object()}]]) is None
    assert "hooks" in caplog.text
    assert cache.find(encoder, "a person") is None
    with pytest.raises(TypeError, match="hooks"):
        write_conditioning(cache.folder / "x", [[torch.ones(1), {"hooks": object()}]])


def test_the_encoders_hash_is_remembered_until_the_file_changes(cache, encoder, monkeypatch):
    reads = []
    real = prompt_cache.file_sha256
    monkeypatch.setattr(prompt_cache, "file_sha256", lambda path: reads.append(path) or real(path))
    first = cache.encoder_hash(encoder)
    assert cache.encoder_hash(encoder) == first
    assert len(reads) == 1
    encoder.write_bytes(b"weights of an encoder, again")
    assert cache.encoder_hash(encoder) != first
    assert len(reads) == 2


def test_a_sha256_beside_the_encoder_spares_the_reading(cache, encoder, monkeypatch):
    monkeypatch.setattr(prompt_cache, "file_sha256", lambda path: pytest.fail("the encoder was read"))
    stated = encoder.with_name(encoder.name + ".sha256")
    stated.write_text("AB" * 32 + "  encoder.safetensors\n")
    assert cache.encoder_hash(encoder) == "ab" * 32
    newer = stated.stat().st_mtime_ns + 10**9
    os.utime(encoder, ns=(newer, newer))  # weights changed after it was written: not believed
    monkeypatch.undo()
    assert cache.encoder_hash(encoder) == prompt_cache.file_sha256(encoder)
