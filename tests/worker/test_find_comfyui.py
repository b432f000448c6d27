"""Finding ComfyUI: the order of places, other versions, and cloning where there is none."""

import logging
import socket
import subprocess
import time
from pathlib import Path

import pytest

from worker import find_comfyui as finding
from worker.errors import JobError
from worker.find_comfyui import clone_comfyui, find_comfyui

from .engines import settings

# Finding ComfyUI


def tree(folder: Path, version: str = "0.33.0", commit: str | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text(f'# made by a build\n__version__ = "{version}"\n')
    if commit:
        (folder / ".git").mkdir()
        (folder / ".git" / "HEAD").write_text(commit + "\n")
    return folder


@pytest.fixture
def places(tmp_path, monkeypatch):
    own, comfy_cli = tmp_path / "project" / ".comfyui", tmp_path / "home" / "ComfyUI"
    monkeypatch.setattr(finding, "OWN_CLONE", own)
    monkeypatch.setattr(finding, "COMFY_CLI_PLACE", comfy_cli)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    return own, comfy_cli


def test_the_order_of_places(tmp_path, places):
    own, comfy_cli = places
    tree(comfy_cli)
    assert find_comfyui(settings(tmp_path)).source == "comfy-cli"
    tree(own, commit=finding.PINNED_COMMIT)
    assert find_comfyui(settings(tmp_path)).source == "own clone"
    named = tree(tmp_path / "named")
    found = find_comfyui(settings(tmp_path, comfyui_path=named))
    assert (found.source, found.path, found.version) == ("COMFYUI_PATH", named, "0.33.0")


def test_another_version_is_taken_from_comfyui_path_only_and_reported(tmp_path, places, caplog):
    other = tree(tmp_path / "named", "0.32.1")
    with caplog.at_level(logging.WARNING):
        found = find_comfyui(settings(tmp_path, comfyui_path=other))
    assert not found.is_pinned
    assert "ComfyUI 0.32.1" in caplog.text
    tree(places[1], "0.32.1")
    tree(places[0], "0.33.0", commit="0" * 40)
    with pytest.raises(JobError, match="engine_not_found"):
        find_comfyui(settings(tmp_path))


def test_nothing_found_names_both_variables(tmp_path, places):
    with pytest.raises(JobError) as caught:
        find_comfyui(settings(tmp_path))
    assert caught.value.code == "engine_not_found"
    assert "COMFYUI_PATH" in caught.value.message + caught.value.hint
    assert "COMFYUI_GIT_URL" in caught.value.message + caught.value.hint


def test_a_comfyui_path_without_comfyui_is_not_passed_over(tmp_path, places):
    tree(places[1])
    with pytest.raises(JobError, match="COMFYUI_PATH is"):
        find_comfyui(settings(tmp_path, comfyui_path=tmp_path / "nothing"))


@pytest.fixture
def mirror(tmp_path):
    """A git repository with a ComfyUI of the pinned version; gives its URL and commit."""
    folder = tree(tmp_path / "mirror")

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    git("add", "-A")
    git("commit", "--quiet", "-m", "one")
    git("tag", "v0.33.0")
    return folder.as_uri(), git("rev-parse", "HEAD")


def test_cloning_where_there_is_none(tmp_path, places, mirror, monkeypatch):
    url, commit = mirror
    monkeypatch.setattr(finding, "PINNED_COMMIT", commit)
    found = find_comfyui(settings(tmp_path, comfyui_git_url=url), clone=True)
    assert (found.source, found.commit, found.path) == ("own clone", commit, places[0])
    assert [path.name for path in places[0].parent.iterdir()] == [".comfyui"]


def test_a_mirror_with_another_commit_is_refused_without_remains(places, mirror):
    places[0].parent.mkdir()
    with pytest.raises(JobError, match=r"engine_not_found.*wanted"):
        clone_comfyui(mirror[0], "1" * 40, places[0])
    assert list(places[0].parent.iterdir()) == []


def test_a_clone_is_bounded_in_time_and_tells_no_password(places):
    places[0].parent.mkdir()
    with pytest.raises(JobError) as caught:
        clone_comfyui("http://user:hush-hush@127.0.0.1:9/repo", "1" * 40, places[0], seconds=10)
    assert caught.value.code == "engine_not_found"
    assert "COMFYUI_PATH" in caught.value.hint
    assert "hush-hush" not in caught.value.message
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(JobError, match="took too long"):
            clone_comfyui(f"http://127.0.0.1:{silent.getsockname()[1]}/repo", "1" * 40, places[0], seconds=1.0)
        assert time.monotonic() - began < 4
    assert list(places[0].parent.iterdir()) == []
