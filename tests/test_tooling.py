"""What `python dev.py test` runs, on which ComfyUI and in which browser; nothing is installed."""

import os
from pathlib import Path

import pytest

from devtools import browser, checks, comfyui
from devtools.client import Client
from devtools.comfyui import HostError, comfyui_path, versions_to_test
from devtools.host import Host

posix = pytest.mark.skipif(os.name == "nt", reason="programs are shell scripts here")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty PATH, and that folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("UNCONDITIONAL_BROWSER", "CI", "COMFYUI_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(browser.sys, "platform", "linux")
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    return tmp_path


def program(path: Path, script: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# The checks


@pytest.fixture
def calls(bare: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Nothing runs: the pytest options of each command that would -> its exit status."""
    statuses: dict[str, int] = {}

    def call(command: list[str], **_: object) -> int:
        return statuses.setdefault(" ".join(command[2:]), 0)

    monkeypatch.setattr(checks, "comfyui_path", lambda version: bare)
    monkeypatch.setattr(checks, "ensure_browser", lambda: bare)
    monkeypatch.setattr(checks.subprocess, "call", call)
    monkeypatch.setattr(checks.torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    return statuses


LINT = {"ruff check .", "ruff format --check .", "basedpyright"}


@pytest.mark.parametrize(
    ("arguments", "capability", "tests"),
    [
        ([], "AVX512", {"pytest --part=first", "pytest --part=second", "pytest -m parity"}),
        ([], "AVX2", {"pytest --part=first", "pytest --part=second"}),
        (["-k", "x"], "AVX512", {"pytest -k x", "pytest -k x -m parity"}),
    ],
    ids=["all", "without AVX-512", "with arguments"],
)
def test_every_check_runs_once(
    arguments: list[str],
    capability: str,
    tests: set[str],
    calls: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks.torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert checks.run_checks(arguments) == 0
    assert calls.keys() == LINT | tests


def test_the_quick_checks_start_no_comfyui(calls: dict[str, int]) -> None:
    assert checks.run_checks([], quick=True) == 0
    assert calls.keys() == LINT | {"pytest --part=quick"}


@pytest.mark.parametrize("part", ["basedpyright", "pytest --part=first", "pytest --part=second"])
def test_a_failing_check_is_named_and_sets_the_exit_status(
    part: str, calls: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    calls[part] = 1
    assert checks.run_checks([]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("Failed: ")
    assert len(calls) == 6, "the others run too"


@pytest.mark.parametrize(("status", "fails"), [(1, True), (5, False)])
def test_a_selection_of_tests_need_not_include_a_parity_test(
    status: int, fails: bool, calls: dict[str, int]
) -> None:
    calls["pytest -k x -m parity"] = status
    assert checks.run_checks(["-k", "x"]) == fails


@pytest.mark.parametrize("ci", [False, True])
def test_a_missing_browser_is_reported_and_fails_in_continuous_integration(
    ci: bool,
    calls: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CI", "true" if ci else "")
    monkeypatch.setattr(checks, "ensure_browser", lambda: None)
    assert checks.run_checks([]) == ci
    end = capsys.readouterr().out.strip().splitlines()[-2:]
    assert "browser tests were not run" in end[0]
    assert "Install one" in end[0]
    assert end[1] == ("Failed: browser tests" if ci else "All other checks passed")


# The browser


@posix
def test_a_browser_on_the_path_is_found_and_the_named_one_is_preferred(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert browser.find_browser() is None
    found = program(bare / "google-chrome")
    assert browser.find_browser() == found
    named = program(bare / "elsewhere" / "mine")
    monkeypatch.setenv("UNCONDITIONAL_BROWSER", str(named))
    assert browser.find_browser() == named
    monkeypatch.setenv("UNCONDITIONAL_BROWSER", str(bare / "nothing"))
    with pytest.raises(browser.BrowserError, match="nothing"):
        browser.find_browser()


@posix
@pytest.mark.parametrize(
    ("user", "needed", "installs"), [(0, True, True), (0, False, False), (1000, True, False)]
)
def test_only_root_without_a_browser_installs_one_and_says_so(
    user: int,
    needed: bool,
    installs: bool,
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(browser.os, "geteuid", lambda: user)
    log = bare / "log"
    program(bare / "apt-get", f'echo "$@" >> {log}')
    program(bare / "fc-list", "" if needed else "echo a font")
    if not needed:
        program(bare / "chromium")
    browser.ensure_browser()
    assert log.exists() == installs
    if installs:
        assert log.read_text().endswith("--no-install-recommends chromium fonts-noto-cjk\n")
        assert "Installing chromium and fonts-noto-cjk" in capsys.readouterr().out


# ComfyUI


def write_comfyui(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text(f'# Generated\n__version__ = "{version}"\n')
    return folder


def test_the_running_host_is_the_comfyui_that_the_test_names(
    host: Host, client: Client, request: pytest.FixtureRequest
) -> None:
    version = client.get("/system_stats")["system"]["comfyui_version"]
    assert f"[ComfyUI-{version}]" in request.node.name
    assert version.startswith(".".join(map(str, host.version)))


def test_each_version_is_downloaded_once_unless_a_comfyui_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obtained: list[Path] = []

    def obtain(version: str, target: Path) -> None:
        obtained.append(write_comfyui(target, version))

    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(comfyui, "_COPIES", tmp_path / ".host")
    monkeypatch.setattr(comfyui, "_obtain", obtain)
    for _ in range(2):
        assert [comfyui_path(version) for version in versions_to_test()] == obtained
    assert len(obtained) == len(comfyui.VERSIONS)
    before = write_comfyui(tmp_path / ".host" / "ComfyUI", comfyui.VERSIONS[0])
    assert comfyui_path() == before  # the name from when there was only one
    named = write_comfyui(tmp_path / "mine", "0.3.64")
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    assert versions_to_test() == ("0.3.64",)
    assert comfyui_path() == named.resolve()
    (named / "main.py").unlink()
    with pytest.raises(HostError, match=r"mine is not .*: it has no main\.py"):
        comfyui_path()
