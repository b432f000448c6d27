"""worker/versions.py and worker/redact.py: what ran is told, what is secret is not."""

import hashlib
import json
import logging
import os

import pytest
from pydantic import SecretStr

from worker.host import Worker
from worker.operations import load_operations
from worker.redact import RedactingFilter, Redactor
from worker.settings import Settings
from worker.versions import MODEL_INPUTS, Hashes, ModelFile, models_of, project_version


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "models" / "vae" / "v.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return ModelFile("vae", "v.safetensors", path)


def test_hashes_are_computed_in_the_background_and_remembered(tmp_path, model):
    hashes = Hashes(tmp_path / "hashes.json")
    assert hashes.entry(model)["why"] == "the hash is still being computed"
    hashes.start([model.path])
    hashes.wait(10)
    wanted = hashlib.sha256(b"weights").hexdigest()
    assert hashes.entry(model) == {"name": "v.safetensors", "folder": "vae", "sha256": wanted}
    again = Hashes(tmp_path / "hashes.json")
    assert again.known(model.path) == wanted


def test_a_changed_file_has_no_hash_until_it_is_computed_again(tmp_path, model):
    hashes = Hashes(tmp_path / "hashes.json")
    hashes.start([model.path])
    hashes.wait(10)
    model.path.write_bytes(b"others!")  # the same size
    os.utime(model.path, ns=(1, 1))
    assert hashes.known(model.path) is None
    hashes.start([model.path])
    hashes.wait(10)
    assert hashes.known(model.path) == hashlib.sha256(b"others!").hexdigest()


def test_a_missing_model_a_folder_and_a_broken_memory(tmp_path):
    (tmp_path / "hashes.json").write_text("{broken")
    (tmp_path / "sam2").mkdir()
    (tmp_path / "sam2" / "config.json").write_text("{}")
    hashes = Hashes(tmp_path / "hashes.json")
    assert hashes.entry(ModelFile("vae", "x", None))["why"] == "the file was not found under MODEL_PATH"
    folder = ModelFile("sam2", "sam2", tmp_path / "sam2")
    hashes.start([folder.path])
    hashes.wait(10)
    assert len(hashes.entry(folder)["sha256"]) == 64
    assert str(tmp_path / "sam2") in json.loads((tmp_path / "hashes.json").read_text())


def test_every_loader_of_the_graph_is_known(tmp_path):
    """A loader added to the graph must be added to MODEL_INPUTS, or its model would be missing from every answer."""
    for operation in load_operations().values():
        for graph in operation.graphs.values():
            loaders = {n["class_type"] for n in graph.nodes.values() if "Load" in n["class_type"]}
            assert loaders - {"LoadImage", "LoadImageMask", "LoadVideo", "CMLoadSound"} <= {
                name for name, _ in MODEL_INPUTS
            }
            named = models_of(graph.nodes, [tmp_path])
            assert named, graph.name
            assert len({(m.folder, m.name) for m in named}) == len(named)
    avatar = models_of(load_operations()["avatar"].graphs["avatar"].nodes, [tmp_path])
    assert {"vae", "loras", "diffusion_models", "sam2", "detection"} <= {model.folder for model in avatar}


def test_a_checkpoint_is_a_model():
    svd = {"1": {"class_type": "ImageOnlyCheckpointLoader", "inputs": {"ckpt_name": "svd_xt.safetensors"}}}
    assert models_of(svd, []) == [ModelFile("checkpoints", "svd_xt.safetensors", None)]


def test_the_models_of_several_graphs_are_told_once(tmp_path):
    graph = load_operations()["avatar"].graphs["avatar"]
    worker = Worker(Settings(_env_file=None, work_path=tmp_path, model_path=tmp_path))
    assert worker.models(graph, graph) == worker.models(graph) != []


def test_the_project_version_is_told(monkeypatch):
    monkeypatch.setenv("COMFY_MOTION_GIT_SHA", "abc")
    assert project_version()["git"] == "abc"
    assert project_version()["version"]


SECRETS = [
    ("the key is s3cr3t-key.", "the key is ***."),
    ("https://h/b?a=1&X-Amz-Signature=00ff&b=2", "https://h/b?a=1&X-Amz-Signature=***&b=2"),
    ("https://h/?X-Amz-Credential=AK%2F2025&sig=abc", "https://h/?X-Amz-Credential=***&sig=***"),
    ("https://user:pw@host/x", "https://***@host/x"),
    ("Authorization: Bearer abcdefgh123", "Authorization: Bearer ***"),
    ("nothing to hide: design, assign=5, 3 tokens", "nothing to hide: design, assign=5, 3 tokens"),
]


@pytest.mark.parametrize(("text", "wanted"), SECRETS)
def test_secrets_are_taken_out(text, wanted):
    redact = Redactor.of(Settings(_env_file=None, minio_secret_key=SecretStr("s3cr3t-key")))
    assert redact.text(text) == wanted
    assert redact.deep({"a": [text, 1, None]}) == {"a": [wanted, 1, None]}


def test_an_empty_secret_hides_nothing():
    assert Redactor(["", "ab"]).text("a cab") == "a cab"


def test_logs_are_redacted_with_their_tracebacks():
    lines = []
    output = logging.StreamHandler()
    output.addFilter(RedactingFilter(Redactor(["s3cr3t-key"])))
    output.emit = lambda record: lines.append(output.format(record))
    logger = logging.getLogger("test.redact")
    logger.addHandler(output)
    try:
        raise ValueError("with s3cr3t-key inside")
    except ValueError:
        logger.exception("failed with %s", "s3cr3t-key")
    finally:
        logger.removeHandler(output)
    assert "s3cr3t-key" not in lines[0]
    assert lines[0].count("***") >= 2
