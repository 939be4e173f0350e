"""Our speed compared with diffusers: `python -m benchmarks.speed`.

Both alternate in one process, with the same weights and seeds, after their results were found
equal. Prints figures, targets, and tables for docs/speed.md, which is written by hand. `--quick`
takes a few minutes.
"""

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone

import torch

from .machine import processor
from .speed_figures import (
    CASES,
    SAMPLERS,
    Case,
    Figure,
    arithmetic_figures,
    floor_lines,
    growth_figures,
    host_figures,
    loop_figures,
    memory_figures,
    start_figure,
)

_QUICK = (0, 1, 3)
_SECONDS = (
    "| shape | batch | sampler | evaluations, ours / diffusers | ours | diffusers | "
    "ours, bfloat16 | rounds | results differ by |\n|---|---|---|---|---|---|---|---|---|"
)


def bench(*, quick: bool, seconds: float, device: str = "cpu", host: bool = True) -> int:
    """Measure and print; return 1 if a target is missed.

    Args:
        quick: only a few cases, and nothing in ComfyUI.
        seconds: for each comparison of loops, after which no round starts.
        device: where both compute; "cuda" runs only the loops.
        host: whether to measure in ComfyUI.
    """
    start = time.monotonic()
    where = torch.device(device)
    cpu = where.type == "cpu"
    figures: list[Figure] = []
    rows: list[str] = []
    floors: list[str] = []
    print(
        f"{_machine(where)}\n\n| figure | value | target | | |\n|---|---|---|---|---|",
        flush=True,
    )

    def add(new: list[Figure]) -> None:
        figures.extend(new)
        for figure in new:
            print(
                f"| {figure.name} | {figure.value:.3f} | ≤ {figure.target:g} | {figure.verdict} | "
                f"{figure.detail} |",
                flush=True,
            )

    def add_loops(case: Case, samplers: Sequence[str]) -> None:
        for sampler in samplers:
            new, row = loop_figures(case, sampler, where, seconds)
            rows.append(row)
            add(new)

    if quick:
        for index in _QUICK:
            add_loops(CASES[index], SAMPLERS[:1])
    else:
        for case in CASES:
            add_loops(case, SAMPLERS)
    add(arithmetic_figures(where, seconds / 4))
    if cpu:
        add([start_figure(3 if quick else 5)])
        add(memory_figures(1 if quick else 2))
        add(growth_figures(where, seconds, 8 if quick else 64))
    if cpu and not quick:
        floors.extend(floor_lines(where, seconds / 4))
        add(host_figures(9) if host else [])
    print(f"\n{_SECONDS}")
    print(*rows, "", *floors, sep="\n")
    missed = sum(figure.verdict == "MISSED" for figure in figures)
    minutes = (time.monotonic() - start) / 60
    print(f"{len(figures)} figures, {missed} missed, {minutes:.1f} minutes")
    return int(missed > 0)


def _machine(device: torch.device) -> str:
    """Return what the measurement runs on, and the date."""
    import diffusers

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return (
        f"{name}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"{platform.system()}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"diffusers {diffusers.__version__}; {datetime.now(timezone.utc):%Y-%m-%d}"
    )


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few cases, in a few minutes")
    parser.add_argument("--seconds", type=float, help="for each comparison of loops")
    parser.add_argument("--threads", type=int, help="for both; default: torch's own")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--no-host", action="store_true", help="nothing in ComfyUI")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    seconds = given.seconds or (10 if given.quick else 40)
    return bench(quick=given.quick, seconds=seconds, device=given.device, host=not given.no_host)


if __name__ == "__main__":
    sys.exit(main())
