"""What the speed benchmark prints and writes of its figures."""

import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch

from .machine import processor
from .speed_figures import Figure

_NOTES = Path(__file__).resolve().parent / "speed_notes.md"


def line(figure: Figure) -> str:
    """Return a figure as a line of the terminal."""
    value, target = f"{figure.value:.3f}", f"{figure.target:g}"
    return f"{figure.name:<72} {value:>6} <= {target:<5} {figure.verdict:<8} {figure.said}"


def machine(device: torch.device) -> str:
    """Say on what it was measured, and when."""
    import diffusers

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return (
        f"{name}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"{platform.system()}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"diffusers {diffusers.__version__}; {datetime.now(timezone.utc):%Y-%m-%d}"
    )


def report(
    device: torch.device, figures: Sequence[Figure], rows: Sequence[str], floors: Sequence[str]
) -> str:
    """Return docs/speed.md.

    Args:
        device: where it was measured.
        figures: what has a target.
        rows: of the table of seconds.
        floors: lines about single layers.
    """
    notes = _NOTES.read_text(encoding="utf-8")
    lines = [
        "# Speed against diffusers",
        "",
        "Written by `python -m benchmarks.speed`; ours and diffusers take turns in one process,",
        "with the same weights and seeds, after their results were found equal. Ratios are",
        "medians over the rounds, in brackets the middle half of the rounds. F-PNDM leaves out an",
        "evaluation that changes nothing; the ratio of the whole run counts that.",
        "",
        machine(device) + ".",
        "",
        "| figure | value | must reach | | |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.name} | {f.value:.3f} | ≤ {f.target:g} | {f.verdict} | {f.said} |" for f in figures
    ]
    lines += [
        "",
        "## Seconds of a whole run",
        "",
        "Timed are the first steps of the list, and scaled by the evaluations of both.",
        "",
        "| shape | batch | sampler | evaluations, ours / diffusers | ours | diffusers | "
        "ours, bfloat16 | rounds | results differ by |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "## The floor",
        "",
        "Each convolution and linear layer of an evaluation of ours, alone and with its own input:",
        "",
        *floors,
        "",
        notes.rstrip(),
        "",
    ]
    return "\n".join(lines)
