"""The project's own environment, `.venv`. This module uses only the standard library."""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
_READY = VENV / "ready.txt"


class EnvironmentSetupError(Exception):
    """A step failed; the message says which one and what to do."""


def is_inside() -> bool:
    """Whether this interpreter is the environment's."""
    return Path(sys.prefix).resolve() == VENV.resolve()


def ensure_environment() -> Path:
    """Create the environment, unless it is up to date, and return its Python.

    Raises:
        EnvironmentSetupError: a step failed.
    """
    if PYTHON.exists() and _READY.exists() and _READY.read_text() == _wanted():
        return PYTHON
    if is_inside():
        raise EnvironmentSetupError(
            "The requirements have changed. Run this with your system's Python, not with the one "
            "in .venv."
        )
    _READY.unlink(missing_ok=True)
    print(f"Creating {VENV.name} (a few minutes, about 3 GB the first time)")
    if not PYTHON.exists():
        _report("1/4 an empty environment")
        try:
            venv.create(VENV, with_pip=True, clear=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise EnvironmentSetupError(
                f"Creating {VENV} failed: {error}. On Debian and Ubuntu, install python3-venv."
            ) from error
    # torch comes first, then the packages built against it, without dependencies. Otherwise pip
    # would choose another torch.
    _pip("2/4 torch", "-r", REQUIREMENTS / "torch.txt")
    _pip("2/4 torchvision, torchaudio", "--no-deps", "-r", REQUIREMENTS / "torch-family.txt")
    _pip(
        "3/4 what ComfyUI and the tests need",
        *("-c", REQUIREMENTS / "torch.txt", "-r", REQUIREMENTS / "dev.txt"),
    )
    _drop_cuda_audio()
    _pip("4/4 this pack", "--no-deps", "--no-build-isolation", "-e", ROOT)
    _READY.write_text(_wanted())
    return PYTHON


def _wanted() -> str:
    """Return a hash of everything that the environment is created from."""
    digest = hashlib.sha256(sys.version.split()[0].encode())
    # ComfyUI itself is only downloaded, not installed.
    installed = set(REQUIREMENTS.glob("*.txt")) - set(REQUIREMENTS.glob("comfyui-*.txt"))
    for path in (*sorted(installed), ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    # The editable install points here.
    digest.update(str(ROOT).encode())
    return digest.hexdigest()


def _report(step: str) -> None:
    print(f"  {step}", flush=True)


def _pip(step: str, *arguments: str | Path) -> None:
    _report(step)
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    result = subprocess.run(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if result.returncode:
        output = result.stdout.decode(errors="replace")
        raise EnvironmentSetupError(
            f"{output}\nInstalling failed at step '{step}'. If the network was the reason, run the "
            f"same command again to continue. Otherwise delete {VENV} first."
        )


def _drop_cuda_audio() -> None:
    """With a torch without CUDA, torchaudio can only be imported without its compiled parts."""
    cuda = subprocess.run(
        [PYTHON, "-c", "import torch; print(torch.version.cuda or '')"],
        capture_output=True,
        text=True,
    )
    if cuda.returncode == 0 and not cuda.stdout.strip():
        for library in VENV.glob("**/site-packages/torchaudio/lib/*.so"):
            library.unlink()
