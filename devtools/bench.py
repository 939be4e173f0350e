"""`python dev.py bench`: quick versions of the benchmarks."""

import subprocess
import sys

from .environment import ROOT

_BENCHMARKS = ("benchmarks.speed", "benchmarks.quality")


def run_benchmarks() -> int:
    """Run all benchmarks, even if one misses a target, and return the exit status."""
    status = 0
    for name in _BENCHMARKS:
        print(f"\n== {name}", flush=True)
        status |= subprocess.call([sys.executable, "-m", name, "--quick"], cwd=ROOT)
    return status
