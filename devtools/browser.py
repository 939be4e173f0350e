"""The browser that the tests drive: one that is here, or Debian's, else a sentence about it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

NAMED_BY = "UNCONDITIONAL_BROWSER"
"""The environment variable that names a browser."""

ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # root may not have one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""With which a browser starts without a screen, and asks nothing of the network."""

_ON_PATH = (
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
    "chrome",
    "microsoft-edge-stable",
    "microsoft-edge",
    "msedge",
)
_MAC = (
    "Google Chrome.app/Contents/MacOS/Google Chrome",
    "Chromium.app/Contents/MacOS/Chromium",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
_WINDOWS = (
    "Google/Chrome/Application/chrome.exe",
    "Chromium/Application/chrome.exe",
    "Microsoft/Edge/Application/msedge.exe",
)

NO_BROWSER = (
    "There is no Chromium, Chrome or Edge here. Install one (on Debian, as root: apt-get install "
    f"chromium), or set {NAMED_BY} to the path of one that you have."
)


class BrowserError(Exception):
    """The named browser is not there; the message says what to do."""


def find_browser() -> Path | None:
    """Return a browser of Chromium's family, the named one first, or None where there is none.

    Raises:
        BrowserError: UNCONDITIONAL_BROWSER names no program.
    """
    named = os.environ.get(NAMED_BY)
    if named:
        found = shutil.which(named)
        if found is None:
            raise BrowserError(f"{NAMED_BY} is {named!r}, which is no program here.")
        return Path(found)
    for name in _ON_PATH:
        if found := shutil.which(name):
            return Path(found)
    return next((path for path in _usual_places(sys.platform, os.environ) if path.is_file()), None)


def ensure_browser() -> Path | None:
    """Return a browser, installing Debian's where apt-get may be used; None where none can be had.

    What it installs is printed. With a browser comes a font for Chinese, where there is none: else
    the pages in Chinese would show boxes.

    Raises:
        BrowserError: UNCONDITIONAL_BROWSER names no program.
    """
    browser = find_browser()
    missing = [] if browser else ["chromium"]
    if not _draws_chinese():
        missing.append("fonts-noto-cjk")
    if missing and _may_install():
        _install(missing)
        browser = find_browser()
    return browser


def is_ci() -> bool:
    """Whether this is continuous integration, where nothing may be left out."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _usual_places(platform: str, environment: Mapping[str, str]) -> Iterator[Path]:
    """Where browsers lie that are not on PATH."""
    if platform == "darwin":
        for folder in (Path("/Applications"), Path.home() / "Applications"):
            yield from (folder / name for name in _MAC)
    if platform == "win32":
        for variable in ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData"):
            if folder := environment.get(variable):
                yield from (Path(folder) / name for name in _WINDOWS)


def _draws_chinese() -> bool:
    """Whether there is a font for it; True where that cannot be asked."""
    ask = shutil.which("fc-list")
    if ask is None:
        return not sys.platform.startswith("linux")
    return bool(subprocess.run([ask, ":lang=zh"], capture_output=True).stdout.strip())


def _may_install() -> bool:
    return shutil.which("apt-get") is not None and hasattr(os, "geteuid") and os.geteuid() == 0


def _install(packages: list[str]) -> None:
    """Install packages; what fails is printed, and whoever needs it finds that it is not there."""
    print(f"Installing {' and '.join(packages)} with apt-get", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (
        ["update", "--quiet=2"],
        ["install", "--quiet=2", "--yes", "--no-install-recommends", *packages],
    ):
        result = subprocess.run(
            ["apt-get", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if result.returncode:
            print(f"{result.stdout.decode(errors='replace')}\napt-get {arguments[0]} failed")
            return
