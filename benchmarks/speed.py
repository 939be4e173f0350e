"""Our speed compared with diffusers: `python -m benchmarks.speed`.

Both alternate in one process, with the same weights and seeds, after their results were found
equal. Prints figures, targets, and tables for docs/speed.md, which is written by hand. `--quick`
takes a few minutes.
"""

import argparse
import copy
import itertools
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

import torch
from comfyui_unconditional.networks.convolution import FastConvolution
from comfyui_unconditional.unet.memory import activation_bytes
from torch import Tensor, nn

from . import child
from .peers import (
    CAT,
    CIFAR,
    DIGITS,
    SKY,
    STEPS,
    TRAINED,
    evaluate_ours,
    make_peers,
    our_sampler,
    sample_ours,
    sample_theirs,
    their_scheduler,
)

# Shape, batch size, maximum ratio of the times in float32, ours / diffusers, and how many steps
# are timed in each round: all evaluations take the same time, and rounds should be short.
CASES = (
    (CIFAR, 1, 0.60, 10),
    (CIFAR, 8, 0.68, 4),
    (TRAINED, 1, 0.65, 4),
    (DIGITS, 64, 0.84, 10),
    (CIFAR, 64, 0.68, 1),
    (CAT, 1, 0.70, 1),
    (SKY, 1, 0.70, 4),
)
QUICK = (CASES[0], CASES[1], CASES[3])
FLOORS = (*CASES[:4], CASES[-1])

Times = dict[str, list[float]]
"""Name -> seconds of each round."""


def take_turns(calls: Mapping[str, Callable[[], object]], seconds: float, least: int = 3) -> Times:
    """Time each call once per round, every other round in reverse order.

    A machine's speed changes from one second to the next. The first round is not counted, and none
    starts after ``seconds``, if there were ``least`` rounds.
    """
    found: Times = {name: [] for name in calls}
    start = time.perf_counter()
    for number in itertools.count():
        for name in calls if number % 2 else reversed(list(calls)):
            begin = time.perf_counter()
            calls[name]()
            found[name].append(time.perf_counter() - begin)
        if number >= least and time.perf_counter() - start > seconds:
            break
    return {name: values[1:] for name, values in found.items()}


def ratios(times: Times, one: str, other: str) -> list[float]:
    """Return the ratios of the rounds, in ascending order."""
    return sorted(a / b for a, b in zip(times[one], times[other], strict=True))


class Report:
    """Prints figures as they are measured, and counts those that miss their targets."""

    def __init__(self) -> None:
        self.missed = 0
        print("| figure | value | target | | |\n|---|---|---|---|---|", flush=True)

    def add(self, name: str, value: float, target: float, detail: str, good: bool = False) -> None:
        reached = good or value <= target
        self.missed += not reached
        verdict = "reached" if reached else "MISSED"
        print(f"| {name} | {value:.3f} | ≤ {target:g} | {verdict} | {detail} |", flush=True)


def compare_loops(
    report: Report,
    case: tuple[str, int, float, int],
    sampler: str,
    device: torch.device,
    seconds: float,
) -> str:
    """Time the sampling loops of both; return a row of seconds."""
    shape, batch, target, steps = case
    peers, seeds = make_peers(shape, device), range(batch)
    run, whole = our_sampler(sampler, peers.scheduler, steps), our_sampler(sampler, peers.scheduler)
    their_whole = len(their_scheduler(sampler, peers.scheduler).timesteps)
    calls = {
        "ours": lambda: synced(sample_ours(peers.ours, peers.shape, run, seeds)),
        "diffusers": lambda: synced(sample_theirs(peers, sampler, seeds, run.evaluations)),
        "bfloat16": lambda: synced(sample_ours(peers.half, peers.shape, run, seeds)),
    }
    name, reference = f"{shape}, batch {batch}, {sampler}", calls["diffusers"]()
    differs = (
        (calls["ours"]() - reference).abs().max() / reference.abs().max().clamp(min=1)
    ).item()
    if not differs <= 1e-4:
        raise RuntimeError(f"{name}: the results differ by {differs:.2g}, so they are not timed.")
    times = take_turns(calls, seconds)
    for peer, what, limit in (
        ("ours", "float32, ours / diffusers", target),
        ("bfloat16", "ours in bfloat16 / diffusers in float32", 0.65),
    ):
        found = ratios(times, peer, "diffusers")
        median, quarter = statistics.median(found), len(found) // 4
        detail = f"each evaluation {median:.3f} ({found[quarter]:.2f} to {found[-1 - quarter]:.2f})"
        # Scaled to whole runs: ours skips PNDM's last evaluation, which would change nothing.
        report.add(f"{name}: {what}", median * whole.evaluations / their_whole, limit, detail)
    each = {key: statistics.median(values) / run.evaluations for key, values in times.items()}
    return (
        f"| {shape} | {batch} | {sampler} | {whole.evaluations} / {their_whole} | "
        f"{each['ours'] * whole.evaluations:.2f} | {each['diffusers'] * their_whole:.2f} | "
        f"{each['bfloat16'] * whole.evaluations:.2f} | {len(times['ours'])} | {differs:.0e} |"
    )


def measure_arithmetic(report: Report, device: torch.device, seconds: float) -> None:
    """Measure the share of our loop that is not the network."""
    peers = make_peers(CIFAR, device)
    answer = torch.zeros(1, *peers.shape, device=device)
    for name in STEPS:
        run = our_sampler(name, peers.scheduler, 10)
        given = (peers.ours, peers.shape, run, [0])
        calls = {
            "loop": lambda given=given: synced(sample_ours(*given)),
            "without": lambda given=given: synced(sample_ours(*given, lambda *_: answer)),
        }
        times = take_turns(calls, seconds, 5)
        report.add(
            f"{name}'s own arithmetic, share of the loop, batch 1",
            statistics.median(ratios(times, "without", "loop")),
            0.01,
            f"{statistics.median(times['without']) / run.evaluations * 1e6:.0f} us per evaluation",
        )


def measure_processes(report: Report, rounds: int, memory_rounds: int) -> None:
    """Measure in a separate process: the time to a first image, and peak memory."""
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        paths = {peer: Path(folder) / f"{peer}.png" for peer in ("ours", "diffusers")}

        def draw(peer: str) -> Callable[[], object]:
            return lambda: child.run("first-image", peer, paths[peer], threads=threads)

        times = take_turns({peer: draw(peer) for peer in paths}, 0, rounds)
        if paths["ours"].read_bytes() != paths["diffusers"].read_bytes():
            raise RuntimeError("The first images differ, so their times cannot be compared.")
    ours, theirs = (statistics.median(values) for values in times.values())
    ratio = statistics.median(ratios(times, "ours", "diffusers"))
    report.add(
        "start of Python to first image", ratio, 0.6, f"{ours:.2f} s, diffusers {theirs:.2f} s"
    )
    for batch in (1, 8):
        found = {
            peer: [child.run("memory", peer, batch, threads=threads) for _ in range(memory_rounds)]
            for peer in paths
        }
        ours, theirs = (statistics.median(each["beyond"] for each in found[peer]) for peer in paths)
        name = f"{CIFAR}, batch {batch}"
        report.add(
            f"peak memory beyond the weights and their copies, {name}",
            ours / theirs,
            0.9,
            f"{ours / 1e6:.0f} MB, diffusers {theirs / 1e6:.0f} MB",
        )
        weights, prepared = (found["ours"][0][key] for key in ("weights", "prepared"))
        detail = f"{weights / 1e6:.0f} MB, copies in the kernels' order {prepared / 1e6:.0f} MB"
        report.add(
            f"weights with their copies / weights, {name}", 1 + prepared / weights, 4.5, detail
        )


def measure_growth(report: Report, device: torch.device, seconds: float, largest: int) -> None:
    """Measure the time per image, for batch sizes that double; show the estimated memory."""
    peers = make_peers(CIFAR, device)
    batches = [2**i for i in range(largest.bit_length())]

    def evaluate(batch: int) -> Callable[[], object]:
        x = torch.randn(batch, *peers.shape, device=device)
        network = copy.deepcopy(peers.ours)  # its filters are for this size
        return torch.inference_mode()(lambda: synced(evaluate_ours(network, x, 500)))

    times = take_turns({str(batch): evaluate(batch) for batch in batches}, seconds, 5)
    for before, batch in itertools.pairwise(batches):
        ratio = statistics.median(ratios(times, str(batch), str(before))) * before / batch
        needed = activation_bytes(peers.ours.config, (batch, *peers.shape), torch.float32)
        milliseconds = statistics.median(times[str(batch)]) / batch * 1e3
        detail = f"{milliseconds:.1f} ms, {needed / 1e6:.0f} MB"
        report.add(f"time per image, batch {batch} / batch {before}", ratio, 1.05, detail)


def describe_floor(case: tuple[str, int, float, int], dtype: torch.dtype, seconds: float) -> str:
    """Time an evaluation of ours, and its convolutions with the same inputs."""
    shape, batch = case[:2]
    peers = make_peers(shape, torch.device("cpu"))
    network = peers.ours if dtype == torch.float32 else peers.half
    layers: list[tuple[nn.Module, Tensor]] = []
    handles = [
        layer.register_forward_pre_hook(lambda m, given: layers.append((m, given[0].clone())))
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    with torch.inference_mode():
        x = torch.randn(batch, *peers.shape, dtype=dtype)
        network(x, 500)
        for handle in handles:
            handle.remove()
        # Two operations for each weight that a result depends on.
        outputs = [m(x) for m, x in layers]
        weights: list[Tensor] = [m.weight for m, _ in layers]  # type: ignore[misc]
        counts = [2.0 * y.numel() * w[0].numel() for y, w in zip(outputs, weights, strict=True)]
        moved = sum(t.nbytes for t in (*outputs, *weights, *(x for _, x in layers)))
        del outputs
        left = sum(n * _share_left(m) for n, (m, _) in zip(counts, layers, strict=True))
        largest, given = layers[counts.index(max(counts))]
        calls = {
            "evaluation": lambda: network(x, 500),
            "alone": lambda: [layer(given) for layer, given in layers],
            "largest": lambda: largest(given),
        }
        times = take_turns(calls, seconds)
    whole, alone = (statistics.median(times[name]) for name in ("evaluation", "alone"))
    operations, best = sum(counts), max(counts) / min(times["largest"])
    return (
        f"- {shape}, batch {batch}, {str(dtype).removeprefix('torch.')}: {whole * 1e3:.1f} ms per "
        f"evaluation, of which convolutions alone {alone * 1e3:.1f} ms "
        f"({100 * alone / whole:.0f} %): {operations / 1e9:.1f} GFLOP if all were direct, of which "
        f"{left / 1e9:.1f} are left without the transforms; {operations / alone / 1e9:.0f} GFLOP/s "
        f"of the former; the largest layer reaches {best / 1e9:.0f}. Inputs, weights and outputs "
        f"are {moved / 1e6:.0f} MB."
    )


def _share_left(layer: nn.Module) -> float:
    convolution = layer.__dict__.get("_conv_forward")
    return convolution.share_left if isinstance(convolution, FastConvolution) else 1.0


def synced(x: Tensor) -> Tensor:
    """Wait until a GPU has computed ``x``."""
    if x.device.type == "cuda":
        torch.cuda.synchronize()
    return x


def describe_machine(device: torch.device) -> str:
    """Return a description of the machine and software, with the date."""
    import diffusers

    name, cpuinfo = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif cpuinfo.is_file() and "model name" in cpuinfo.read_text():
        name = cpuinfo.read_text().partition("model name")[2].split("\n")[0].strip(" \t:")
    return (
        f"{name}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, "
        f"{platform.system()}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"diffusers {diffusers.__version__}; {datetime.now(timezone.utc):%Y-%m-%d}"
    )


def main() -> int:
    """Parse the command line, measure and print; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few cases, in a few minutes")
    parser.add_argument("--seconds", type=float, help="for each comparison of loops")
    parser.add_argument("--threads", type=int, help="for both; default: torch's own")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, which runs only the loops")
    parser.add_argument("--no-host", action="store_true", help="nothing in ComfyUI")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    quick, device = given.quick, torch.device(given.device)
    seconds = given.seconds or (10 if quick else 40)
    print(f"{describe_machine(device)}\n")
    report = Report()
    rows = [
        compare_loops(report, case, sampler, device, seconds)
        for case in (QUICK if quick else CASES)
        for sampler in (["F-PNDM"] if quick else STEPS)
    ]
    measure_arithmetic(report, device, seconds / 4)
    floors: list[str] = []
    if device.type == "cpu":
        measure_processes(report, 3 if quick else 5, 1 if quick else 2)
        measure_growth(report, device, seconds, 8 if quick else 64)
        if not quick:
            kinds = (torch.float32, torch.bfloat16)
            floors = [describe_floor(c, kind, seconds / 4) for c in FLOORS for kind in kinds]
            if not given.no_host:
                from .host_prompt import measure_prompts

                measure_prompts(report, 9)
    print(
        "\n| shape | batch | sampler | evaluations, ours / diffusers | ours | diffusers | "
        "ours, bfloat16 | rounds | results differ by |\n|---|---|---|---|---|---|---|---|---|"
    )
    print(*rows, "", *floors, f"{report.missed} targets missed", sep="\n")
    return int(report.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
