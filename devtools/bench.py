"""`python dev.py bench`: the quick forms of the benchmarks."""

import importlib.util
import subprocess
import sys

from .environment import ROOT

_BENCHMARKS = ("benchmarks.speed", "benchmarks.quality")


def run_benchmarks() -> int:
    """Run all that are there, also after one that missed a target, and return the exit status."""
    status = 0
    for name in _BENCHMARKS:
        if importlib.util.find_spec(name) is None:
            continue
        print(f"\n== {name}", flush=True)
        status |= subprocess.call([sys.executable, "-m", name, "--quick"], cwd=ROOT)
    return status
