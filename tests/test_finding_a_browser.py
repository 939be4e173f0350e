"""How the test command gets a browser, without installing anything."""

import os
from pathlib import Path

import pytest

from devtools import browser, checks


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty PATH, and that folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("UNCONDITIONAL_BROWSER", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(browser.sys, "platform", "linux")
    return tmp_path


def program(path: Path, script: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


posix = pytest.mark.skipif(os.name == "nt", reason="programs are shell scripts here")


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


def test_a_named_browser_that_is_not_there_is_said_and_no_other_is_taken(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNCONDITIONAL_BROWSER", str(bare / "nothing"))
    with pytest.raises(browser.BrowserError, match="nothing"):
        browser.ensure_browser()


@pytest.mark.parametrize(
    ("platform", "place"),
    [
        ("win32", "Programs/Microsoft/Edge/Application/msedge.exe"),
        ("win32", "Programs/Google/Chrome/Application/chrome.exe"),
        ("darwin", "Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    ],
)
def test_browsers_that_are_not_on_the_path_are_found_where_they_usually_are(
    platform: str, place: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser.sys, "platform", platform)
    monkeypatch.setenv("LocalAppData", str(bare / "Programs"))
    monkeypatch.setattr(browser.Path, "home", lambda: bare)
    found = program(bare / place)
    assert browser.find_browser() == found


@posix
def test_where_apt_get_may_be_used_it_installs_a_browser_and_a_font_for_chinese_and_says_so(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    said = bare / "said"
    program(bare / "chromium.there")
    program(
        bare / "apt-get",
        f'echo "$@" >> {said}\n'
        f'[ "$1" = install ] && /bin/mv {bare}/chromium.there {bare}/chromium\ntrue',
    )
    program(bare / "fc-list")
    assert browser.ensure_browser() == bare / "chromium"
    update, install = said.read_text().splitlines()
    assert update.startswith("update")
    assert install.endswith("--no-install-recommends chromium fonts-noto-cjk")
    assert "Installing chromium and fonts-noto-cjk" in capsys.readouterr().out


@posix
def test_nothing_is_installed_without_the_right_to_or_without_need(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = bare / "said"
    program(bare / "apt-get", f"echo called >> {said}")
    program(bare / "fc-list", "echo a font")
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    assert browser.ensure_browser() is None
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    program(bare / "chromium")
    assert browser.ensure_browser() == bare / "chromium"
    assert not said.exists()


@posix
@pytest.mark.parametrize("ci", [False, True])
def test_without_a_browser_the_test_command_says_so_and_fails_in_continuous_integration(
    ci: bool, bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "true" if ci else "")
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(checks, "versions_to_test", lambda: ("0",))
    monkeypatch.setattr(checks, "comfyui_path", lambda version: bare)
    monkeypatch.setattr(checks.subprocess, "call", lambda *arguments, **more: 0)
    assert checks.run_checks([]) == ci
    end = capsys.readouterr().out.strip().splitlines()[-2:]
    assert "browser tests were not run" in end[0]
    assert "Install one" in end[0]
    assert end[1] == ("Failed: browser tests" if ci else "All other checks passed")
