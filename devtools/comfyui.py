"""The files of a ComfyUI: our own copies, downloaded if missing, or the user's."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from .environment import REQUIREMENTS, ROOT

VERSIONS = ("0.30.0", "0.16.3")
"""The versions of our copies, each with its `requirements/comfyui-….txt`; the demo and the type
check use the first."""

_COPIES = ROOT / ".host"


class HostError(Exception):
    """ComfyUI could not be downloaded or started; the message says what to do."""


def named_path() -> Path | None:
    """Return the ComfyUI that COMFYUI_PATH names, or None if it is not set.

    Raises:
        HostError: it is not a ComfyUI.
    """
    named = os.environ.get("COMFYUI_PATH")
    if not named:
        return None
    path = Path(named).resolve()
    for name in ("main.py", "comfyui_version.py"):
        if not (path / name).is_file():
            raise HostError(
                f"{path} is not the folder of a ComfyUI 0.16.3 or newer: it has no {name}. Correct "
                "--host or COMFYUI_PATH."
            )
    return path


def comfyui_path(version: str = VERSIONS[0]) -> Path:
    """Return the named ComfyUI, or our own copy of this version, downloaded if missing.

    Raises:
        HostError: it cannot be downloaded.
    """
    named = named_path()
    if named:
        return named
    own = _COPIES / f"ComfyUI-{version}"
    if not (own / "main.py").is_file():
        _obtain(version, own)
    return own


def versions_to_test() -> tuple[str, ...]:
    """Return the versions to test: that of the named ComfyUI, or all of ours."""
    named = named_path()
    return (version_of(named),) if named else VERSIONS


def version_of(path: Path) -> str:
    """Return the version of a ComfyUI, for example "0.30.0"."""
    content = (path / "comfyui_version.py").read_text()
    found = re.search(r'__version__ = "(.+)"', content)
    return found[1] if found else "unknown"


def _obtain(version: str, target: Path) -> None:
    print(f"Downloading ComfyUI {version}", flush=True)
    target.parent.mkdir(exist_ok=True)
    # Next to the target, so that the tree is complete when it gets its name.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        # The hash is checked before pip runs any code of the package to read its metadata.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
        command += ["--no-deps", "--no-binary", ":all:", "--ignore-requires-python"]
        command += ["--no-build-isolation", "--disable-pip-version-check", "-d", folder]
        command += ["-r", str(REQUIREMENTS / f"comfyui-{version}.txt")]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        archives = list(Path(folder).glob("*.tar.gz"))
        if result.returncode or not archives:
            raise HostError(
                f"{result.stdout.decode(errors='replace')}\nDownloading ComfyUI {version} failed. "
                "Check the network and try again, or set COMFYUI_PATH to your own ComfyUI."
            )
        unpacked = Path(folder) / "unpacked"
        with tarfile.open(archives[0]) as archive:
            archive.extractall(unpacked, filter="data")
        tree = next(unpacked.glob("*/vendor/ComfyUI"))
        shutil.rmtree(target, ignore_errors=True)
        tree.replace(target)
