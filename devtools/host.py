"""A real ComfyUI with the pack in it: obtained, started, stopped."""

import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from .environment import REQUIREMENTS, ROOT

_OWN = ROOT / ".host" / "ComfyUI"
_NOT_THE_PACK = (
    ".*",
    "__pycache__",
    "*.egg-info",
    "output",
    "runs",
    "tests",
    "benchmarks",
    "devtools",
)


class HostError(Exception):
    """ComfyUI could not be obtained or started; the message says what to do."""


def comfyui_path() -> Path:
    """Return a ComfyUI: the one that COMFYUI_PATH names, else our own copy, obtained if missing.

    Raises:
        HostError: it cannot be had.
    """
    named = os.environ.get("COMFYUI_PATH")
    if named:
        if not (Path(named) / "main.py").is_file():
            raise HostError(f"COMFYUI_PATH is {named}, but there is no main.py in it.")
        return Path(named).resolve()
    if not (_OWN / "main.py").is_file():
        _obtain()
    return _OWN


def _obtain() -> None:
    print("Obtaining ComfyUI 0.30.0", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # The hash is checked before pip runs anything of the package to read its metadata.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
        command += ["--no-deps", "--no-binary", ":all:", "--ignore-requires-python"]
        command += ["--no-build-isolation", "--disable-pip-version-check", "-d", folder]
        command += ["-r", str(REQUIREMENTS / "comfyui.txt")]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        archives = list(Path(folder).glob("*.tar.gz"))
        if result.returncode or not archives:
            raise HostError(
                f"{result.stdout.decode(errors='replace')}\nDownloading ComfyUI failed. Check the "
                "network and try again, or set COMFYUI_PATH to a ComfyUI that you have."
            )
        unpacked = Path(folder) / "unpacked"
        with tarfile.open(archives[0]) as archive:
            archive.extractall(unpacked, filter="data")
        tree = next(unpacked.glob("*/vendor/ComfyUI"))
        _OWN.parent.mkdir(exist_ok=True)
        shutil.rmtree(_OWN, ignore_errors=True)
        shutil.move(str(tree), str(_OWN))


class Host:
    """A running ComfyUI, for a ``with`` block.

    Args:
        folder: ComfyUI's base directory: models, custom nodes, input, temporary files, log.
        output: its output folder; None is ``folder / "output"``.
        arguments: further ones for ComfyUI.
        environment: variables that it has beside ours.

    Raises:
        HostError: it did not start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        output: Path | None = None,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ):
        self.folder, self.output = folder, output or folder / "output"
        self.log = folder / "comfyui.log"
        self._arguments = arguments
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Host":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.output.mkdir(parents=True, exist_ok=True)
        (self.folder / "user").mkdir(parents=True, exist_ok=True)  # for its database
        _copy_pack(self.folder / "custom_nodes" / "comfyui-unconditional")
        main = comfyui_path() / "main.py"
        launcher = Path(__file__).with_name("launch_host.py")
        command = [sys.executable, str(launcher), str(main), "--cpu", "--listen", "127.0.0.1"]
        command += ["--port", str(self.port), "--preview-method", "auto", "--disable-api-nodes"]
        command += ["--base-directory", str(self.folder), "--output-directory", str(self.output)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def _wait_until_ready(self, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.is_running:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/system_stats", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
        raise HostError(f"{tail}\nComfyUI did not start; above is the end of {self.log}.")

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _copy_pack(target: Path) -> None:
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*_NOT_THE_PACK), dirs_exist_ok=True)
