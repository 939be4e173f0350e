"""What the Comfy Registry reads of the pack, checked with its command-line tool and directly.

`comfy node validate` reads pyproject.toml and looks for code that the registry forbids, and
`comfy node pack` makes the archive that it would upload. Both work without a network. What only the
registry itself can say needs one, and is not tested: whether the publisher exists and the name is
free, and its scan of what was uploaded.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from PIL import Image

from devtools.comfyui import VERSIONS
from devtools.environment import ROOT

WORKSHOP = ("tests", "benchmarks", "devtools", "requirements", "dev.py")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomlkit.parse((ROOT / "pyproject.toml").read_text("utf-8")).unwrap()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with our files from git, and a home folder next to it."""
    folder = tmp_path_factory.mktemp("registry") / "tree"
    ours = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(ours, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("the registry packs what git has, and this is no repository")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    return folder


def comfy(tree: Path, *arguments: str) -> str:
    """Run comfy-cli without a network, the user's home or telemetry, and return what it says."""
    home = tree.parent / "home"
    home.mkdir(exist_ok=True)
    nowhere = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        **dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"), str(home)),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), nowhere),
        "XDG_CONFIG_HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "DO_NOT_TRACK": "1",
        "NO_PROXY": "",
        "NO_COLOR": "1",
        "PYTHONUTF8": "1",
    }
    result = subprocess.run(
        [sys.executable, "-m", "comfy_cli", "--skip-prompt", *arguments],
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=120,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_comfy_node_validate_passes_without_a_warning(tree):
    said = comfy(tree, "node", "validate")
    assert "All validation checks passed" in said
    assert "arning" not in said


def test_the_archive_has_what_users_need_and_no_development_files(tree):
    comfy(tree, "node", "pack")
    archive = tree / "node.zip"
    with zipfile.ZipFile(archive) as packed:
        names = set(packed.namelist())
    archive_size = archive.stat().st_size
    archive.unlink()
    folders = {name.split("/")[0] for name in names}
    assert {"example_workflows", "subgraphs", "web", "locales"} <= folders
    # Everything else is there, even new files: folders are only left out by name.
    ours = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    left_out = (*WORKSHOP, ".", "docs/artwork.py")
    assert names == {name for name in ours if not name.startswith(left_out)}
    assert archive_size < 16e6


def test_no_shipped_file_imports_a_development_file(tree):
    workshop = re.compile(r"^\s*(from|import) (\.+)?(devtools|benchmarks|tests)\b", re.MULTILINE)
    for path in tree.rglob("*.py"):
        if path.relative_to(tree).parts[0] not in WORKSHOP:
            assert not workshop.search(path.read_text("utf-8")), path.relative_to(tree)


def test_the_version_is_the_newest_of_the_changelog(pyproject):
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    sections = re.findall(r"^## \[(.+?)\](.*)$", changelog, re.MULTILINE)
    assert sections[0] == ("Unreleased", "")
    newest, dated = sections[1]
    assert newest == pyproject["project"]["version"]
    assert re.fullmatch(r" - \d{4}-\d\d-\d\d", dated)
    assert f"\n[{newest}]: " in changelog
    assert re.fullmatch(r"\d+\.\d+\.\d+", newest), "the registry wants three numbers"


def test_the_oldest_comfyui_is_the_same_everywhere(pyproject):
    required = pyproject["tool"]["comfy"]["requires-comfyui"]
    oldest = required.removeprefix(">=")
    assert re.fullmatch(r"\d+\.\d+\.\d+", oldest)
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"ComfyUI ({oldest} or newer" in readme
    assert f"ComfyUI {oldest} or newer" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"ComfyUI {oldest} or newer" in (ROOT / "devtools" / "comfyui.py").read_text("utf-8")
    for version in VERSIONS:
        assert [int(n) for n in version.split(".")] >= [int(n) for n in oldest.split(".")]


@pytest.mark.parametrize(
    ("kind", "ratio", "largest"), [("Icon", (1, 1), 400), ("Banner", (21, 9), 2100)]
)
def test_the_pictures_are_in_the_tree_in_the_registry_s_shapes(
    pyproject, tree, kind, ratio, largest
):
    url = pyproject["tool"]["comfy"][kind]
    picture = Image.open(tree / url.split("/main/")[1])
    assert picture.format == "PNG"
    assert picture.width * ratio[1] == picture.height * ratio[0]
    assert picture.width <= largest
    assert Path(str(picture.filename)).stat().st_size < 300_000


def test_the_templates_name_the_pack_as_the_registry_does(pyproject):
    # The editor offers to install what a workflow names and the user lacks.
    paths = [*ROOT.glob("example_workflows/*.json"), *ROOT.glob("subgraphs/*.json")]
    workflows = [json.loads(path.read_text("utf-8")) for path in paths]
    subgraphs = [w["definitions"]["subgraphs"] for w in workflows if "definitions" in w]
    graphs = itertools.chain(workflows, *subgraphs)
    names = {
        node["type"]: node["properties"].get("cnr_id")
        for graph in graphs
        for node in graph["nodes"]
        if node["type"].startswith("Unconditional")
    }
    assert set(names.values()) == {pyproject["project"]["name"]}, names


def test_every_package_of_ours_is_installed(pyproject):
    found = {
        ".".join(("comfyui_unconditional", *path.parent.relative_to(ROOT).parts))
        for path in ROOT.rglob("__init__.py")
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        and path.relative_to(ROOT).parts[0] not in {*WORKSHOP, "runs", "output"}
    }
    assert found == set(pyproject["tool"]["setuptools"]["packages"])
