"""`python dev.py test`: lint, type check and tests; the same here and in continuous integration."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
_NOTHING_SELECTED = 5  # pytest's exit status if no test was selected


def run_checks(pytest_arguments: Sequence[str], host: str | None = None) -> int:
    """Run all checks, even after a failed one, and return the exit status.

    Args:
        pytest_arguments: additional arguments for pytest.
        host: the folder of a ComfyUI to test on instead of our copies, like COMFYUI_PATH.
    """
    named = host or os.environ.get("COMFYUI_PATH")
    if named:
        # The path may be relative, and the checks run in another folder.
        os.environ["COMFYUI_PATH"] = str(Path(named).resolve())
    try:
        folders = [comfyui_path(version) for version in versions_to_test()]
        browser = ensure_browser()
    except (HostError, BrowserError) as error:
        print(error, file=sys.stderr)
        return 1
    checks = {
        "lint": ["ruff", "check", "."],
        "format": ["ruff", "format", "--check", "."],
        "types": ["basedpyright"],
        "tests": ["pytest", *pytest_arguments],
        "parity with AVX2": ["pytest", *pytest_arguments, "-m", "parity"],
    }
    environments = {
        # Without our own copy, the type check finds ComfyUI's modules in the named one.
        "types": {**os.environ, "PYTHONPATH": str(folders[0])},
        "parity with AVX2": {**os.environ, **OTHER_KERNELS},
    }
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        print("The parity tests run only once, because this processor does not have AVX-512.")
        del checks["parity with AVX2"]
    failed = []
    for name, command in checks.items():
        print(f"\n== {name}: {' '.join(command)}", flush=True)
        status = subprocess.call(
            [sys.executable, "-m", *command], cwd=ROOT, env=environments.get(name)
        )
        # The given arguments may have selected none of the parity tests.
        none_needed = name == "parity with AVX2" and pytest_arguments
        if status and not (none_needed and status == _NOTHING_SELECTED):
            failed.append(name)
    print()
    if browser is None:
        print(f"The browser tests were not run. {NO_BROWSER}")
        if is_ci():
            failed.append("browser tests")
    passed = "All checks passed" if browser else "All other checks passed"
    print(f"Failed: {', '.join(failed)}" if failed else passed)
    return bool(failed)
