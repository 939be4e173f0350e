"""Our speed against diffusers, side by side in one run: `python -m benchmarks.speed`.

Ours and theirs take turns in one process, with the same weights and seeds, after their results
were found equal. Prints a table of figures and targets. The long form also writes docs/speed.md;
`--quick` takes some minutes.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import torch
from comfyui_unconditional.schedulers.run import Run

from .floor import measure_floor
from .peers import (
    Peers,
    evaluate_ours,
    largest_difference,
    make_peers,
    our_run,
    sample_ours,
    sample_theirs,
    their_scheduler,
)
from .timing import take_turns

_ROOT = Path(__file__).resolve().parent.parent
_REPORT = _ROOT / "docs" / "speed.md"
_NOTES = Path(__file__).resolve().parent / "speed_notes.md"
_CIFAR, _TRAINED, _DIGITS = "ddpm-cifar10-32", "train_unconditional, 64 px", "digits-16"
_SAMPLERS = ("F-PNDM", "DDIM", "DDPM")
_EQUAL = 1e-4
_MOST_HALF = 0.65
_MOST_ARITHMETIC = 0.01
_MOST_START = 0.6
_MOST_MEMORY = 0.9
_MOST_GROWTH = 1.05
_MOST_BEYOND, _OR_SECONDS = 0.05, 0.15


@dataclass(frozen=True)
class Case:
    """A shape and a batch, and in how small parts it is timed."""

    shape: str
    batch: int
    most: float
    """Target of the time in float32, ours / diffusers."""
    steps: int = 10
    """How many steps from the start of the list are timed in each round."""

    def __str__(self) -> str:
        return f"{self.shape}, batch {self.batch}"


CASES = (
    Case(_CIFAR, 1, 0.90),
    Case(_CIFAR, 8, 0.97, 4),
    Case(_TRAINED, 1, 0.90, 4),
    Case(_DIGITS, 64, 0.90),
    Case(_CIFAR, 64, 0.97, 1),
)
_QUICK = (0, 1, 3)


@dataclass(frozen=True)
class Figure:
    """A row of the table; ``value`` is what must not be above ``target``."""

    name: str
    value: float
    target: float
    said: str
    reached: bool | None = None

    @property
    def verdict(self) -> str:
        good = self.value <= self.target if self.reached is None else self.reached
        return "reached" if good else "MISSED"


def loop_figures(
    case: Case, sampler: str, device: torch.device, seconds: float
) -> tuple[list[Figure], str]:
    """Time the sampling loop of both; return the figures and a row of seconds for the report."""
    peers = make_peers(case.shape, device)
    seeds = range(case.batch)
    # A part of the list, so that rounds are short: all evaluations take the same time.
    stop = case.steps
    run, whole = our_run(sampler, peers.scheduler, stop), our_run(sampler, peers.scheduler)
    evaluations = run.evaluations
    their_whole = len(their_scheduler(sampler, peers.scheduler).timesteps)

    def ours() -> torch.Tensor:
        return _synced(sample_ours(peers.ours, peers.shape, run, seeds))

    def half() -> torch.Tensor:
        return _synced(sample_ours(peers.half, peers.shape, run, seeds))

    def theirs() -> torch.Tensor:
        return _synced(sample_theirs(peers, sampler, seeds, evaluations))

    differs = largest_difference(ours(), theirs())
    name = f"{case}, {sampler}"
    if not differs <= _EQUAL:
        raise RuntimeError(f"{name}: the results differ by {differs:.2g}, so no time is taken.")
    half()
    calls = {"ours": ours, "diffusers": theirs, "bfloat16": half}
    times = take_turns(calls, name=name, seconds=seconds, warm=True)
    # Whole runs by the evaluations counted: PNDM's last one would change nothing, and is ours not.
    scale = whole.evaluations / their_whole
    full, half_ratio = (times[key].against(times["diffusers"]) for key in ("ours", "bfloat16"))
    figures = [
        Figure(
            f"{name}: float32, ours / diffusers",
            full.median * scale,
            case.most,
            f"each evaluation {full}",
        ),
        Figure(
            f"{name}: ours in bfloat16 / diffusers in float32",
            half_ratio.median * scale,
            _MOST_HALF,
            f"each evaluation {half_ratio}",
        ),
    ]
    each = {key: value.median / evaluations for key, value in times.items()}
    row = (
        f"| {case.shape} | {case.batch} | {sampler} | {whole.evaluations} / {their_whole} | "
        f"{each['ours'] * whole.evaluations:.2f} | {each['diffusers'] * their_whole:.2f} | "
        f"{each['bfloat16'] * whole.evaluations:.2f} | {len(times['ours'].seconds)} | "
        f"{differs:.0e} |"
    )
    return figures, row


def arithmetic_figures(device: torch.device, seconds: float) -> list[Figure]:
    """Share of everything but the network in our loop, on the CIFAR shape, for each sampler."""
    peers = make_peers(_CIFAR, device)
    figures = []
    answer = torch.zeros(1, *peers.shape, device=device)
    for sampler in _SAMPLERS:
        run = our_run(sampler, peers.scheduler, 10)

        def loop(run: Run = run) -> None:
            _synced(sample_ours(peers.ours, peers.shape, run, [0]))

        def without(run: Run = run) -> None:
            _synced(sample_ours(peers.ours, peers.shape, run, [0], lambda *_: answer))

        calls = {"loop": loop, "without": without}
        times = take_turns(calls, name=f"arithmetic of {sampler}", seconds=seconds, least=5)
        figures.append(
            Figure(
                f"{sampler}'s own arithmetic, share of the loop, batch 1",
                times["without"].against(times["loop"]).median,
                _MOST_ARITHMETIC,
                f"{times['without'].median / run.evaluations * 1e6:.0f} us per evaluation",
            )
        )
    return figures


def start_figure(rounds: int) -> Figure:
    """Time from the start of Python to a saved image; each measurement is a process of its own."""
    with tempfile.TemporaryDirectory() as folder:

        def call(peer: str) -> Callable[[], object]:
            target = str(Path(folder) / f"{peer}.png")
            return lambda: _child(peer, target)

        peers = {peer: call(peer) for peer in ("ours", "diffusers")}
        times = take_turns(peers, name="start-up", seconds=0, least=rounds)
        files = [(Path(folder) / f"{peer}.png").read_bytes() for peer in peers]
    if files[0] != files[1]:
        raise RuntimeError("The first images differ, so their times cannot be compared.")
    ratio = times["ours"].against(times["diffusers"])
    said = f"{times['ours'].median:.2f} s, diffusers {times['diffusers'].median:.2f} s"
    return Figure("start of Python to first image", ratio.median, _MOST_START, said)


def memory_figures(rounds: int) -> list[Figure]:
    """Peak memory beyond the weights in processes of their own: resident, with all workspaces."""
    figures = []
    for batch in (1, 8):
        found = {
            peer: [int(_child(peer, "--memory", str(batch))) for _ in range(rounds)]
            for peer in ("ours", "diffusers")
        }
        ours, theirs = (statistics.median(values) for values in found.values())
        figures.append(
            Figure(
                f"peak memory beyond the weights, {_CIFAR}, batch {batch}",
                ours / theirs,
                _MOST_MEMORY,
                f"{ours / 1e6:.0f} MB, diffusers {theirs / 1e6:.0f} MB",
            )
        )
    return figures


def growth_figures(device: torch.device, seconds: float, largest: int) -> list[Figure]:
    """Time per image, and memory by the estimate, of batches that double."""
    from comfyui_unconditional.unet.memory import activation_bytes

    peers = make_peers(_CIFAR, device)
    batches = [2**i for i in range(largest.bit_length()) if 2**i <= largest]

    def call(batch: int) -> Callable[[], object]:
        x = torch.randn(batch, *peers.shape, device=device)

        def evaluate() -> None:
            with torch.inference_mode():
                _synced(evaluate_ours(peers.ours, x, 500))

        return evaluate

    times = take_turns(
        {str(batch): call(batch) for batch in batches},
        name="batch growth",
        seconds=seconds,
        least=5,
    )
    figures = []
    for before, batch in pairwise(batches):
        ratio = times[str(batch)].against(times[str(before)]).median * before / batch
        needed = activation_bytes(peers.ours.config, (batch, *peers.shape), torch.float32)
        said = f"{times[str(batch)].median / batch * 1e3:.1f} ms, {needed / 1e6:.0f} MB"
        figures.append(
            Figure(f"time per image, batch {batch} / batch {before}", ratio, _MOST_GROWTH, said)
        )
    return figures


def host_figures(rounds: int) -> list[Figure]:
    """Time of a prompt in ComfyUI beyond its sampling loop, previews on."""
    from .host_prompt import measure_prompts

    found: dict[str, list[tuple[float, float]]] = {}
    for what, loop, beyond in measure_prompts(rounds):
        found.setdefault(what, []).append((loop, beyond))
    figures = []
    for what, pairs in found.items():
        loop = statistics.median(pair[0] for pair in pairs)
        beyond = statistics.median(pair[1] for pair in pairs)
        figures.append(
            Figure(
                f"in ComfyUI: a prompt beyond its loop, {what}",
                beyond / loop,
                _MOST_BEYOND,
                f"{beyond * 1e3:.0f} ms beyond a loop of {loop:.2f} s; or {_OR_SECONDS * 1e3:.0f} "
                "ms",
                beyond <= max(_MOST_BEYOND * loop, _OR_SECONDS),
            )
        )
    return figures


def bench(*, quick: bool, seconds: float, device: str = "cpu", host: bool = True) -> int:
    """Measure and print; return 1 where a target is missed.

    Args:
        quick: only the first few cases, nothing in ComfyUI, and no report.
        seconds: for each comparison of loops, beyond which no round begins.
        device: where both compute; "cuda" runs the loops only.
        host: whether to measure in ComfyUI.
    """
    begin = time.monotonic()
    where = torch.device(device)
    cpu = where.type == "cpu"
    figures: list[Figure] = []
    rows: list[str] = []
    floors: list[str] = []
    print(_machine(where), flush=True)

    def add(new: list[Figure]) -> None:
        figures.extend(new)
        for figure in new:
            print(_line(figure), flush=True)
        if not quick:
            _REPORT.write_text(_report(where, figures, rows, floors), encoding="utf-8")

    def add_loops(case: Case, samplers: Sequence[str]) -> None:
        for sampler in samplers:
            new, row = loop_figures(case, sampler, where, seconds)
            rows.append(row)
            add(new)

    if quick:
        for index in _QUICK:
            add_loops(CASES[index], _SAMPLERS[:1])
    else:
        for case in CASES:
            add_loops(case, _SAMPLERS)
    add(arithmetic_figures(where, seconds / 4))
    if cpu:
        add([start_figure(3 if quick else 5)])
        add(memory_figures(1 if quick else 2))
        add(growth_figures(where, seconds, 8 if quick else 64))
    if cpu and not quick:
        floors.extend(_floors(where, seconds / 4))
        add(host_figures(9) if host else [])
    missed = sum(figure.verdict == "MISSED" for figure in figures)
    minutes = (time.monotonic() - begin) / 60
    print(f"{len(figures)} figures, {missed} missed, {minutes:.1f} minutes")
    return int(missed > 0)


def _floors(device: torch.device, seconds: float) -> list[str]:
    lines = []
    for case in CASES:
        if case.batch == 64 and case.shape == _CIFAR:
            continue
        for dtype in (torch.float32, torch.bfloat16):
            peers: Peers = make_peers(case.shape, device)
            floor = measure_floor(peers, case.batch, dtype, seconds)
            lines.append(f"- {case}, {str(dtype).removeprefix('torch.')}: {floor}.")
    return lines


def _child(*arguments: str) -> str:
    """Run the module of first images; return what it prints."""
    command = [sys.executable, "-m", "benchmarks.first_image", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    result = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return result.stdout.strip().rpartition("\n")[2]


def _synced(x: torch.Tensor) -> torch.Tensor:
    """Wait for a GPU to have computed ``x``."""
    if x.device.type == "cuda":
        torch.cuda.synchronize()
    return x


def _line(figure: Figure) -> str:
    value, target = f"{figure.value:.3f}", f"{figure.target:g}"
    return f"{figure.name:<72} {value:>6} <= {target:<5} {figure.verdict:<8} {figure.said}"


def _machine(device: torch.device) -> str:
    import diffusers

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif cpuinfo.is_file():
        lines = (line for line in cpuinfo.read_text().splitlines() if "model name" in line)
        name = next(lines, name).rpartition(":")[2].strip()
    return (
        f"{name}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"{platform.system()}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"diffusers {diffusers.__version__}; {datetime.now(timezone.utc):%Y-%m-%d}"
    )


def _report(device: torch.device, figures: list[Figure], rows: list[str], floors: list[str]) -> str:
    notes = _NOTES.read_text(encoding="utf-8")
    lines = [
        "# Speed against diffusers",
        "",
        "Written by `python -m benchmarks.speed`; ours and diffusers take turns in one process,",
        "with the same weights and seeds, after their results were found equal. Ratios are",
        "medians over the rounds, in brackets the middle half of the rounds. F-PNDM leaves out an",
        "evaluation that changes nothing; the ratio of the whole run counts that.",
        "",
        _machine(device) + ".",
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


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some minutes, and no report")
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
