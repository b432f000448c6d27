"""The rules of the house, as far as a program can check them (CONTRIBUTING.md says them in words)."""

import ast
import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
MOST_LINES = 300

# Faces over jobs over operations over all else in worker/ over these three.
JOBS = {"worker.jobs", "worker.host"}  # one job, and what all jobs of a worker share
LOWEST = {"worker.settings", "worker.errors", "worker.progress"}
FACES = {"handler", "smoke_test", "download_models", "run", "app"}
# Which of our top folders a file there may import from; what runs in production, only its own side.
MAY_IMPORT = {face: {"worker", "cli"} for face in sorted(FACES)} | {
    "handler": {"worker"},
    "smoke_test": {"worker", "cli", "demo"},
    "worker": {"worker"},
    "cli": {"cli", "worker"},
    "custom_nodes": {"custom_nodes"},
    "demo": {"demo", "cli", "worker", "custom_nodes"} | FACES,
}
OURS = {"worker", "cli", "custom_nodes", "demo", "bench", "tests", "scripts"} | FACES


@cache
def files() -> list[Path]:
    """Every file that is in git or would be if all were added."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True
    )
    assert listed.returncode == 0, f"this test needs a git checkout: {listed.stderr.decode()}"
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def sources() -> list[Path]:
    return [path for path in files() if path.suffix == ".py"]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> set[str]:
    return {module_name(path) for path in sources()}


@cache
def imports(path: Path) -> set[str]:
    """The full names of everything a file imports, anywhere in it.

    Of `from a import b` that is a.b and, unless b is a module of ours, also a.
    """
    names: set[str] = set()
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            parts = {f"{origin}.{alias.name}" for alias in node.names}
            names |= parts if parts <= modules() else parts | {origin}
    return names


def rank(module: str) -> int | None:
    """How high a module of the worker's side stands; None for what is not on that side."""
    if module.split(".")[0] in FACES | {"cli"}:
        return 4
    if module in JOBS:
        return 3
    if module == "worker.operations" or module.startswith("worker.operations."):
        return 2
    if module in LOWEST:
        return 0
    return 1 if module.startswith("worker.") else None


def test_files_stay_small():
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}


def test_folders_import_only_what_they_may():
    wrong = []
    for path in sources():
        top = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for name in imports(path):
            target = name.split(".")[0]
            if top in MAY_IMPORT and target in OURS and target not in MAY_IMPORT[top]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_the_worker_imports_downwards_only():
    wrong = []
    for path in sources():
        own = module_name(path)
        if (height := rank(own)) is None:
            continue
        wrong += [f"{own} imports {name}" for name in imports(path) if (rank(name) or 0) > height]
    assert wrong == []


def test_only_nodes_know_the_node_api():
    """The work packages run without ComfyUI's node API, and do not know the nodes that call them."""
    wrong = []
    for path in sources():
        parts = path.relative_to(ROOT).parts
        if parts[:2] == ("custom_nodes", "comfy_motion") and len(parts) > 3 and parts[2] != "nodes":
            for name in imports(path):
                if name.startswith(("comfy_api", "custom_nodes.comfy_motion.nodes")):
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("top", ["worker", "cli", "custom_nodes", "demo"])
def test_no_circles(top: str):
    ours = {module_name(path): path for path in sources() if path.relative_to(ROOT).parts[0] == top}
    edges = {name: (imports(path) & ours.keys()) - {name} for name, path in ours.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(ours):
        visit(name, ())


def test_no_file_names_this_machine_or_a_package_registry():
    # Spelled in parts, so that this file names none itself.
    homes = "|".join(("wo" + "rk", "ro" + "ot"))
    hosts = ("py" + "pi.org", "python" + "hosted", "registry.n" + "pmjs", "deb.deb" + "ian")
    pattern = re.compile(rf"(^|[^A-Za-z0-9._-])/({homes})/|\.pye" + r"nv/|" + "|".join(map(re.escape, hosts)))
    assert pattern.search("cd /" + homes.split("|")[0] + "/here")
    assert pattern.search("https://files.python" + "hosted.org")
    assert not pattern.search("./wo" + "rk/comfyui")
    wrong = []
    for path in files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{n}: {line[:100]}" for n, line in enumerate(lines, 1) if pattern.search(line)
        ]
    assert wrong == []


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documents_name_targets_that_exist(document: str):
    path = ROOT / document
    if not path.exists():
        pytest.skip(f"{document} is not written yet")
    named = set(re.findall(r"(?:^[ \t$]+|`)(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)", path.read_text(), re.MULTILINE))
    assert "test" in named
    assert named - make_targets() == set()


def test_every_target_is_phony_and_the_public_ones_have_a_help_line():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == make_targets()
    helped = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert make_targets() - helped == {"venv"}


def wanted(name: str) -> list[Requirement]:
    found = []
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r "):
            found += wanted(line[3:].strip())
        elif line:
            found.append(Requirement(line))
    return found


def locked(name: str) -> dict[str, set[Version]]:
    """The versions each package is locked at (more than one where markers choose); fails on a line without a hash."""
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    versions: dict[str, set[Version]] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            requirement = Requirement(line.split(" --hash")[0].strip())
            assert "--hash=sha256:" in line, f"{name}: {line} has no hash"
            (pin,) = requirement.specifier
            assert pin.operator == "==", f"{name}: {line} is not pinned"
            versions.setdefault(canonicalize_name(requirement.name), set()).add(Version(pin.version))
    return versions


@pytest.mark.parametrize("name", ["run", "dev", "tools"])
def test_the_lock_fits_what_is_asked_for(name: str):
    pinned = locked(f"{name}.txt")
    for requirement in wanted(f"{name}.in"):
        versions = pinned.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement} is not in {name}.txt: run 'make lock'"
        unfit = [str(version) for version in versions if not requirement.specifier.contains(version, prereleases=True)]
        assert not unfit, f"{name}.txt has {requirement.name} {unfit}, asked for is {requirement}: run 'make lock'"


def test_both_locks_agree():
    run, dev = locked("run.txt"), locked("dev.txt")
    assert {name: (run[name], dev.get(name)) for name in run if dev.get(name) != run[name]} == {}


def test_hooks_fetch_nothing():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    assert {hook["language"] for repo in config["repos"] for hook in repo["hooks"]} == {"system"}


def test_ci_runs_the_test_command_with_nothing_missing():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^REQUIRE_COMFYUI=1 make test\b", script.read_text(), re.MULTILINE)


def test_the_licence_is_the_whole_gpl():
    text = (ROOT / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 3, 29 June 2007" in text
    assert text.rstrip().endswith("<https://www.gnu.org/licenses/why-not-lgpl.html>.")
