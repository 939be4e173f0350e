"""Start and stop a real ComfyUI with the pack installed."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from .comfyui import HostError, comfyui_path, version_of
from .environment import ROOT

_NOT_THE_PACK = (".*", "__pycache__", "*.egg-info", "output", "runs")
_NOT_THE_PACK += ("tests", "benchmarks", "devtools")


class Host:
    """A running ComfyUI, for a ``with`` block.

    Args:
        folder: ComfyUI's base directory: models, custom nodes, input, temporary files, log.
        comfyui: the folder with its own files; None means ``comfyui_path()``.
        output: its output folder; None means ``folder / "output"``.
        arguments: additional arguments for ComfyUI.
        environment: additional environment variables.

    Raises:
        HostError: it did not start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        comfyui: Path | None = None,
        output: Path | None = None,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ):
        self.folder, self.output = folder, output or folder / "output"
        self.comfyui = comfyui or comfyui_path()
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
        launcher = Path(__file__).with_name("launch_host.py")
        main = self.comfyui / "main.py"
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

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def version(self) -> tuple[int, ...]:
        """ComfyUI's version, for example (0, 30, 0)."""
        return tuple(int(number) for number in re.findall(r"\d+", version_of(self.comfyui))[:3])

    @property
    def is_running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
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
        raise HostError(f"{tail}\nComfyUI did not start. Above is the end of {self.log}.")

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
