"""Which ComfyUI the demo and the tests run on."""

from pathlib import Path

import pytest

from devtools import comfyui
from devtools.client import Client
from devtools.comfyui import HostError, comfyui_path, versions_to_test
from devtools.host import Host


def write_tree(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text(f'# Generated\n__version__ = "{version}"\n')
    return folder


@pytest.fixture
def obtained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that would have been downloaded; our copies are in an empty folder."""
    versions: list[str] = []
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(comfyui, "_COPIES", tmp_path / ".host")
    monkeypatch.setattr(comfyui, "_obtain", lambda version, target: versions.append(version))
    return versions


def test_the_running_host_is_the_comfyui_that_the_tests_name(
    host: Host, client: Client, request: pytest.FixtureRequest
) -> None:
    told = client.get("/system_stats")["system"]["comfyui_version"]
    assert f"[ComfyUI-{told}]" in request.node.name
    assert told.startswith(".".join(map(str, host.version)))


def test_each_version_has_a_copy_of_its_own(obtained: list[str], tmp_path: Path) -> None:
    paths = [comfyui_path(version) for version in versions_to_test()]
    assert obtained == ["0.30.0", "0.16.3"]
    assert paths == [tmp_path / ".host" / f"ComfyUI-{version}" for version in obtained]
    for path, version in zip(paths, obtained, strict=True):
        write_tree(path, version)
    obtained.clear()
    assert [comfyui_path(version) for version in versions_to_test()] == paths
    assert not obtained


def test_the_copy_from_when_there_was_one_only_is_used_for_its_version(
    obtained: list[str], tmp_path: Path
) -> None:
    before = write_tree(tmp_path / ".host" / "ComfyUI", "0.30.0")
    assert comfyui_path() == before
    assert comfyui_path("0.16.3") != before
    assert obtained == ["0.16.3"]


def test_a_named_comfyui_is_the_only_one_and_nothing_is_obtained(
    obtained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = write_tree(tmp_path / "mine", "0.17.0")
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    assert versions_to_test() == ("0.17.0",)
    assert comfyui_path() == named.resolve()
    assert not obtained


@pytest.mark.parametrize("missing", ["main.py", "comfyui_version.py"])
def test_a_named_folder_that_is_no_comfyui_is_an_error_that_names_it(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = write_tree(tmp_path / "mine", "0.17.0")
    (named / missing).unlink()
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    with pytest.raises(HostError, match=rf"mine is not .*: there is no {missing} in it"):
        comfyui_path()
