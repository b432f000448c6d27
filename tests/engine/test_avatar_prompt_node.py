"""The node that gives encoded prompts from disk: a hit never touches the text encoder."""

import pytest
import torch

from .comfy_import import import_comfyui

pytestmark = pytest.mark.engine


class CountingClip:
    """Stands for a loaded text encoder; says what it was asked for."""

    def __init__(self):
        self.asked: list[str] = []

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> list:
        self.asked.append(tokens)
        return [[torch.full((1, 4, 8), float(len(tokens))), {"pooled_output": None}]]


@pytest.fixture
def node(tmp_path, tmp_path_factory):
    import_comfyui(tmp_path_factory.mktemp("comfyui"))
    import folder_paths

    from custom_nodes.comfy_motion.nodes import avatar

    (tmp_path / "one.safetensors").write_bytes(b"one encoder")
    (tmp_path / "two.safetensors").write_bytes(b"another encoder")
    folder_paths.add_model_folder_path("text_encoders", str(tmp_path))
    folder_paths.set_user_directory(str(tmp_path / "user"))
    return avatar.CMEncodedPrompt


def test_the_encoder_is_asked_once_and_never_again(node):
    clip = CountingClip()
    assert node.check_lazy_status("a person", "one.safetensors") == ["clip"]
    first = node.execute("a person", "one.safetensors", clip)[0]
    assert node.check_lazy_status("a person", "one.safetensors") == []
    again = node.execute("a person", "one.safetensors")[0]
    assert clip.asked == ["a person"]
    assert torch.equal(first[0][0], again[0][0])
    assert again[0][1] == {"pooled_output": None}


def test_another_text_and_another_encoder_are_other_prompts(node):
    node.execute("a person", "one.safetensors", CountingClip())
    assert node.check_lazy_status("a person.", "one.safetensors") == ["clip"]
    assert node.check_lazy_status("a person", "two.safetensors") == ["clip"]


def test_without_an_encoder_a_new_prompt_is_refused_in_words(node):
    with pytest.raises(ValueError, match=r"not encoded with one.safetensors before and no text encoder is connected"):
        node.execute("never seen", "one.safetensors")


def test_a_prompt_shipped_with_the_models_is_found(node, tmp_path):
    import folder_paths

    from custom_nodes.comfy_motion.avatar.prompt_cache import PromptCache

    shipped = tmp_path / "shipped"
    folder_paths.add_model_folder_path("encoded_prompts", str(shipped))
    PromptCache(shipped).save(tmp_path / "one.safetensors", "the default", [[torch.ones(1, 2, 3), {}]])
    assert node.check_lazy_status("the default", "one.safetensors") == []
    assert torch.equal(node.execute("the default", "one.safetensors")[0][0][0], torch.ones(1, 2, 3))
