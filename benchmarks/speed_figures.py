"""The figures of the speed benchmark: ours and diffusers measured against each other."""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from comfyui_unconditional.schedulers.sampler import Sampler

from .floor import measure_floor
from .peers import (
    Peers,
    evaluate_ours,
    largest_difference,
    make_peers,
    our_sampler,
    sample_ours,
    sample_theirs,
    their_scheduler,
)
from .timing import take_turns

_ROOT = Path(__file__).resolve().parent.parent
_CIFAR, _TRAINED, _DIGITS = "ddpm-cifar10-32", "train_unconditional, 64 px", "digits-16"
SAMPLERS = ("F-PNDM", "DDIM", "DDPM")
_EQUAL = 1e-4
_MAX_HALF = 0.65
_MAX_ARITHMETIC = 0.01
_MAX_START = 0.6
_MAX_MEMORY = 0.9
_MAX_GROWTH = 1.05
_MAX_BEYOND, _OR_SECONDS = 0.05, 0.15


@dataclass(frozen=True)
class Case:
    """A shape and a batch size, its target, and how many steps are timed."""

    shape: str
    batch: int
    target: float
    """Maximum ratio of the times in float32, ours / diffusers."""
    steps: int = 10
    """How many steps, from the start of the list, are timed in each round."""

    def __str__(self) -> str:
        return f"{self.shape}, batch {self.batch}"


CASES = (
    Case(_CIFAR, 1, 0.90),
    Case(_CIFAR, 8, 0.97, 4),
    Case(_TRAINED, 1, 0.90, 4),
    Case(_DIGITS, 64, 0.90),
    Case(_CIFAR, 64, 0.97, 1),
)


@dataclass(frozen=True)
class Figure:
    """A row of the table; ``value`` must not be above ``target``."""

    name: str
    value: float
    target: float
    detail: str
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
    # Only a part of the list, to keep rounds short: all evaluations take the same time.
    stop = case.steps
    run, whole = our_sampler(sampler, peers.scheduler, stop), our_sampler(sampler, peers.scheduler)
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
        raise RuntimeError(f"{name}: the results differ by {differs:.2g}, so they are not timed.")
    half()
    calls = {"ours": ours, "diffusers": theirs, "bfloat16": half}
    times = take_turns(calls, name=name, seconds=seconds, warm=True)
    # Scaled to whole runs: ours skips PNDM's last evaluation, which would change nothing.
    scale = whole.evaluations / their_whole
    full, half_ratio = (times[key].against(times["diffusers"]) for key in ("ours", "bfloat16"))
    figures = [
        Figure(
            f"{name}: float32, ours / diffusers",
            full.median * scale,
            case.target,
            f"each evaluation {full}",
        ),
        Figure(
            f"{name}: ours in bfloat16 / diffusers in float32",
            half_ratio.median * scale,
            _MAX_HALF,
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
    """Return the share of our loop that is not the network, with the CIFAR shape."""
    peers = make_peers(_CIFAR, device)
    figures = []
    answer = torch.zeros(1, *peers.shape, device=device)
    for sampler in SAMPLERS:
        run = our_sampler(sampler, peers.scheduler, 10)

        def loop(run: Sampler = run) -> None:
            _synced(sample_ours(peers.ours, peers.shape, run, [0]))

        def without(run: Sampler = run) -> None:
            _synced(sample_ours(peers.ours, peers.shape, run, [0], lambda *_: answer))

        calls = {"loop": loop, "without": without}
        times = take_turns(calls, name=f"arithmetic of {sampler}", seconds=seconds, least=5)
        figures.append(
            Figure(
                f"{sampler}'s own arithmetic, share of the loop, batch 1",
                times["without"].against(times["loop"]).median,
                _MAX_ARITHMETIC,
                f"{times['without'].median / run.evaluations * 1e6:.0f} us per evaluation",
            )
        )
    return figures


def start_figure(rounds: int) -> Figure:
    """Time from the start of Python to a saved image; each measurement is its own process."""
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
    detail = f"{times['ours'].median:.2f} s, diffusers {times['diffusers'].median:.2f} s"
    return Figure("start of Python to first image", ratio.median, _MAX_START, detail)


def memory_figures(rounds: int) -> list[Figure]:
    """Peak resident memory in addition to the weights, each measured in its own process."""
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
                _MAX_MEMORY,
                f"{ours / 1e6:.0f} MB, diffusers {theirs / 1e6:.0f} MB",
            )
        )
    return figures


def growth_figures(device: torch.device, seconds: float, largest: int) -> list[Figure]:
    """Time per image and estimated memory, for batch sizes that double."""
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
        detail = f"{times[str(batch)].median / batch * 1e3:.1f} ms, {needed / 1e6:.0f} MB"
        figures.append(
            Figure(f"time per image, batch {batch} / batch {before}", ratio, _MAX_GROWTH, detail)
        )
    return figures


def host_figures(rounds: int) -> list[Figure]:
    """Time of a prompt in ComfyUI in addition to its sampling loop, with previews on."""
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
                _MAX_BEYOND,
                f"{beyond * 1e3:.0f} ms beyond a loop of {loop:.2f} s; or {_OR_SECONDS * 1e3:.0f} "
                "ms",
                beyond <= max(_MAX_BEYOND * loop, _OR_SECONDS),
            )
        )
    return figures


def floor_lines(device: torch.device, seconds: float) -> list[str]:
    """Time the network's layers alone; a line for each case and precision."""
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
    """Run ``benchmarks.first_image`` and return its output."""
    command = [sys.executable, "-m", "benchmarks.first_image", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    result = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return result.stdout.strip().rpartition("\n")[2]


def _synced(x: torch.Tensor) -> torch.Tensor:
    """Wait until a GPU has computed ``x``."""
    if x.device.type == "cuda":
        torch.cuda.synchronize()
    return x
