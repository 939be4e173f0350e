"""The browser for the tests: an installed one, or Debian's, or a message that explains."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

NAMED_BY = "UNCONDITIONAL_BROWSER"
"""The environment variable that names a browser."""

ARGUMENTS = (
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--no-sandbox",  # the sandbox does not work as root
)
"""Arguments for a browser without a screen and without its own network requests."""

_ON_PATH = (
    *("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"),
    *("microsoft-edge-stable", "microsoft-edge", "msedge"),
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
    "No Chromium, Chrome or Edge was found. Install one (on Debian, as root: apt-get install "
    f"chromium), or set {NAMED_BY} to the path of a browser."
)


class BrowserError(Exception):
    """The named browser does not exist; the message says what to do."""


def find_browser() -> Path | None:
    """Return a Chromium-based browser, preferably the named one, or None.

    Raises:
        BrowserError: UNCONDITIONAL_BROWSER does not name a program.
    """
    named = os.environ.get(NAMED_BY)
    if named:
        found = shutil.which(named)
        if found is None:
            raise BrowserError(
                f"{NAMED_BY} is {named!r}, which is not a program. Set it to the path of a browser."
            )
        return Path(found)
    for name in _ON_PATH:
        if found := shutil.which(name):
            return Path(found)
    return next((path for path in _usual_places(sys.platform, os.environ) if path.is_file()), None)


def ensure_browser() -> Path | None:
    """Return a browser, or None; install Debian's if apt-get can be used.

    Installed packages are printed. A Chinese font is installed too if there is none: without one,
    pages in Chinese show boxes.

    Raises:
        BrowserError: UNCONDITIONAL_BROWSER does not name a program.
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
    """Whether this is continuous integration, where no test may be skipped."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _usual_places(platform: str, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the usual paths of browsers that are not on PATH."""
    if platform == "darwin":
        for folder in (Path("/Applications"), Path.home() / "Applications"):
            yield from (folder / name for name in _MAC)
    if platform == "win32":
        for variable in ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData"):
            if folder := environment.get(variable):
                yield from (Path(folder) / name for name in _WINDOWS)


def _draws_chinese() -> bool:
    """Whether there is a Chinese font; True if that cannot be determined."""
    fc_list = shutil.which("fc-list")
    if fc_list is None:
        return not sys.platform.startswith("linux")
    return bool(subprocess.run([fc_list, ":lang=zh"], capture_output=True).stdout.strip())


def _may_install() -> bool:
    return shutil.which("apt-get") is not None and hasattr(os, "geteuid") and os.geteuid() == 0


def _install(packages: list[str]) -> None:
    """Install packages; a failure is printed, and the caller checks what is installed."""
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
