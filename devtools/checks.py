"""`python dev.py test`: lint, type check and tests; the same here and in continuous integration."""

import subprocess
import sys
from collections.abc import Sequence

from .environment import ROOT
from .host import HostError, comfyui_path


def run_checks(pytest_arguments: Sequence[str]) -> int:
    """Run all checks, also after one that failed, and return the exit status."""
    try:
        comfyui_path()  # the type check reads its sources too
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    checks = {
        "lint": ["ruff", "check", "."],
        "format": ["ruff", "format", "--check", "."],
        "types": ["basedpyright"],
        "tests": ["pytest", *pytest_arguments],
    }
    failed = []
    for name, command in checks.items():
        print(f"\n== {name}: {' '.join(command)}", flush=True)
        if subprocess.call([sys.executable, "-m", *command], cwd=ROOT):
            failed.append(name)
    print(f"\n{'Failed: ' + ', '.join(failed) if failed else 'All checks passed'}")
    return bool(failed)
