"""`python dev.py test`: lint, type check and tests; the same here and in continuous integration."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch

from .browser import NO_BROWSER, BrowserError, ensure_browser, is_ci
from .comfyui import HostError, comfyui_path, versions_to_test
from .environment import ROOT

OTHER_KERNELS = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""Makes torch compute as on a processor without AVX-512, which rounds differently."""
_NOTHING_SELECTED = 5  # pytest's exit status when no test was left


@dataclass(frozen=True)
class Check:
    """A command that passes with exit status 0, or another one that is allowed."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    allowed: int = 0

    def run(self, output: IO[bytes] | None) -> bool:
        """Run it, here or with its output in a file; return whether it passed."""
        title = f"\n== {self.name}: {' '.join(self.command)}"
        if output is None:
            print(title, flush=True)
        else:
            output.write(f"{title}\n".encode())
            output.flush()
        status = subprocess.call(
            [sys.executable, "-m", *self.command],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
        )
        return status in (0, self.allowed)


def run_checks(
    pytest_arguments: Sequence[str], host: str | None = None, *, quick: bool = False
) -> int:
    """Run all checks, even after one has failed, and return the exit status.

    Args:
        pytest_arguments: further ones for pytest; with them the tests run in one process.
        host: a ComfyUI folder to test on instead of our copies; the same as COMFYUI_PATH.
        quick: leave out the tests that need ComfyUI or a browser, and the slow ones.
    """
    named = host or os.environ.get("COMFYUI_PATH")
    if named:
        # It may be relative to another folder than the one that the checks run in.
        os.environ["COMFYUI_PATH"] = str(Path(named).resolve())
    try:
        folders = [comfyui_path(version) for version in versions_to_test()]
        browser = None if quick else ensure_browser()
    except (HostError, BrowserError) as error:
        print(error, file=sys.stderr)
        return 1
    lint = Check("lint", ["ruff", "check", "."])
    formatting = Check("format", ["ruff", "format", "--check", "."])
    # Without our own copy, the type check uses the modules of the named ComfyUI.
    types = Check("types", ["basedpyright"], {"PYTHONPATH": str(folders[0])})
    # The given arguments may select no parity test.
    parity = Check(
        "parity with AVX2",
        ["pytest", *pytest_arguments, "-m", "parity"],
        OTHER_KERNELS,
        _NOTHING_SELECTED if pytest_arguments else 0,
    )
    if quick:
        command = ["pytest", "--part=quick", "--numprocesses=logical", *pytest_arguments]
        here, meanwhile = [Check("quick tests", command)], [types]
    elif pytest_arguments:
        here, meanwhile = [types, Check("tests", ["pytest", *pytest_arguments]), parity], []
    else:
        # Two halves that take about equally long.
        first = Check("tests on one ComfyUI and in a browser", ["pytest", "--part=first"])
        here = [types, first, parity]
        meanwhile = [Check("other tests", ["pytest", "--part=second"])]
    if parity in here + meanwhile and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        print("The parity tests run once: this processor has no more than AVX2.")
        here, meanwhile = ([c for c in part if c is not parity] for part in (here, meanwhile))
    failed = _run([lint, formatting, *here], meanwhile)
    print()
    if browser is None and not quick:
        print(f"The browser tests were not run. {NO_BROWSER}")
        if is_ci():
            failed.append("browser tests")
    passed = "All checks passed" if browser else "All other checks passed"
    print(f"Failed: {', '.join(failed)}" if failed else "Quick checks passed" if quick else passed)
    return bool(failed)


def _run(here: Sequence[Check], meanwhile: Sequence[Check]) -> list[str]:
    """Run two rows of checks at once, print the second one's output last; return what failed."""
    failed: list[str] = []
    with tempfile.TemporaryFile() as output:

        def run_others() -> None:
            failed.extend(check.name for check in meanwhile if not check.run(output))

        # Ctrl-C reaches its command too, and ends it without the next one.
        others = threading.Thread(target=run_others, daemon=True)
        others.start()
        failed.extend([check.name for check in here if not check.run(None)])
        if others.is_alive():
            print(f"\nWaiting for: {', '.join(check.name for check in meanwhile)}", flush=True)
        others.join()
        output.seek(0)
        print(output.read().decode(errors="replace"), end="", flush=True)
    return failed
