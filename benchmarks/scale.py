"""The figures of docs/scale.md: `python -m benchmarks.scale [NAME ...]`, all if none is named.

The machine must be idle: most figures are speeds of two processes.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import psutil
import torch
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.generate.like import Like
from comfyui_unconditional.generate.plan import Plan
from comfyui_unconditional.generate.pool import Pool, draw_blocks
from comfyui_unconditional.generate.processes import Processes, make_worker
from comfyui_unconditional.generate.run_folder import RunFolder, encode
from comfyui_unconditional.generate.seeds import Block, Seeds, blocks_of
from comfyui_unconditional.generate.settings import Settings
from comfyui_unconditional.generate.worker import Drawn, kernels_of
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D

from .peers import CIFAR, DIGITS_FOLDER, SHAPES

CPU = torch.device("cpu")
GENERATE = [sys.executable, "-m", "comfyui_unconditional.generate"]


def images_per_second(pool: Pool, blocks: Iterable[Block], workers: int) -> float:
    """Return the speed after each worker has drawn its first block."""
    times, images = [], []
    try:
        for drawn in draw_blocks(blocks, pool):
            times.append(time.perf_counter())
            images.append(len(drawn.seeds))
    finally:
        pool.close()
    return sum(images[workers:]) / (times[-1] - times[workers - 1])


def begun(model: Path, settings: Settings, home: Path, batch: int) -> Plan:
    """Return the plan of a new run."""
    out, kernels = home / str(time.time_ns()), kernels_of(CPU)
    plan = Plan.make(model, Like(settings), out, device="cpu", kernels=kernels, batch=batch)
    plan.folder.begin(plan.record)
    return plan


def cifar(home: Path) -> Path:
    """Write a model of CIFAR's shape with random weights."""
    folder = home / "cifar"
    if not folder.exists():
        config = UNetConfig.from_dict({"in_channels": 3, "out_channels": 3, **SHAPES[CIFAR]})
        torch.manual_seed(0)
        save_model(folder, UNet2D(config).state_dict(), config, SchedulerConfig())
    return folder


def processes(plan: Plan, count: int) -> Pool:
    """Return workers that are processes."""
    return Processes(partial(make_worker, plan.task), [CPU] * count)


def actors(plan: Plan, count: int) -> Pool:
    """Return workers that are actors of a Ray on this machine."""
    from comfyui_unconditional.generate.on_ray import RayActors, connect

    connect(None, "cpu", avx2=False)
    return RayActors(plan.task, count, "cpu")


def workers(home: Path) -> None:
    """Two workers against one, in turns: CIFAR's shape, one thread each."""
    model, settings, rounds = cifar(home), Settings("ddim", steps=5), 3
    for name, make in {"processes": processes, "Ray": actors}.items():
        ratios = []
        for _ in range(rounds):
            speeds = []
            for count in (1, 2):
                plan = begun(model, settings, home, 4)
                blocks = blocks_of(range(48 * count), 4)
                speeds.append(images_per_second(make(plan, count), blocks, count))
            ratios.append(speeds[1] / speeds[0])
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name}: 2 workers / 1: {sorted(ratios)[rounds // 2]:.2f} ({shown})")


class _Stub:
    """Draws nothing, in a given time."""

    def __init__(self, seconds: Sequence[float], device: torch.device):
        self._seconds = seconds[device.index or 0]

    def __call__(self, block: Block) -> Drawn:
        time.sleep(self._seconds)
        return Drawn(block.wanted)


def stubs(*seconds: float) -> Pool:
    """Return workers that take these times for a block."""
    make: Callable[[torch.device], _Stub] = partial(_Stub, seconds)
    return Processes(make, [torch.device("cpu", k) for k in range(len(seconds))])


def unlike(home: Path) -> None:
    """Two workers of which one is slowed to a third, against the sum of both."""
    fast, slow = 0.2, 0.6
    speed = images_per_second(stubs(fast, slow), blocks_of(range(64 * 80), 64), 2)
    print(f"unlike workers: {speed / (64 / fast + 64 / slow):.3f} of the sum of both")


def ray(home: Path) -> None:
    """The overhead of Ray: blocks of 64 digits, two workers, in turns with processes."""
    settings, ratios = Settings("pndm", steps=10, method="iPNDM_v", spacing="optimised"), []
    for _ in range(3):
        speeds = []
        for make in (processes, actors):
            plan = begun(DIGITS_FOLDER, settings, home, 64)
            speeds.append(images_per_second(make(plan, 2), blocks_of(range(64 * 10), 64), 2))
        ratios.append(speeds[0] / speeds[1] - 1)
    print(f"overhead of Ray: {100 * sorted(ratios)[1]:.1f} % ({ratios})")


def scheduling(home: Path) -> None:
    """Blocks a second with workers that do nothing, and the driver's memory."""
    memory = psutil.Process()
    for seeds in (1_000, 50_000):
        speed = images_per_second(stubs(0, 0), blocks_of(range(seeds), 1), 2)
        megabytes = memory.memory_info().rss / 1e6
        print(f"{seeds:,} blocks: {speed:,.0f} a second, driver {megabytes:.0f} MB")


def resuming(home: Path) -> None:
    """The time to find what is missing among 50,000 pictures."""
    folder = RunFolder(home / "resumed")
    folder.begin({})
    for size in (32, 256):
        png = encode(torch.rand(size, size, 3), {"seed": 0})
        for seed in range(50_000):
            if size == 32:
                folder.put(seed, png)
            elif seed < 5_000:
                folder.file_of(seed).write_bytes(png)
        count = 50_000 if size == 32 else 5_000
        started = time.perf_counter()
        missing = folder.missing(Seeds.of(0, count))
        seconds = time.perf_counter() - started
        print(f"{count:,} files of {size} px ({len(missing)} missing): {seconds:.1f} s")


def kills(home: Path) -> None:
    """5,000 digits; a worker is killed every 20 seconds, the driver twice, then a node of three."""
    how = [str(DIGITS_FOLDER), "--seeds", "0-4999", "--sampler", "ddim", "--steps", "10"]
    how += ["--batch", "64"]
    whole = home / "whole"
    subprocess.run([*GENERATE, *how, "--out", str(whole)], check=True)
    wanted = _pictures(whole)

    out, killed = home / "killed", 0
    for limit in (60, 60, None):
        driver = subprocess.Popen([*GENERATE, *how, "--out", str(out)])
        started = time.monotonic()
        while driver.poll() is None:
            time.sleep(20)
            if limit is not None and time.monotonic() - started > limit:
                driver.kill()
                driver.wait()
            elif driver.poll() is None:
                children = psutil.Process(driver.pid).children()
                spawned = [c for c in children if "spawn_main" in " ".join(c.cmdline())]
                os.kill(random.choice(spawned).pid, signal.SIGKILL)
                killed += 1
    print(f"{killed} workers and 2 drivers killed: the same bytes: {_pictures(out) == wanted}")

    from ray.cluster_utils import Cluster

    cluster, out = Cluster(initialize_head=True, head_node_args={"num_cpus": 1}), home / "cluster"
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    driver = subprocess.Popen([*GENERATE, *how, "--out", str(out), "--ray", cluster.address])
    while len(list(out.glob("*/*.png"))) < 1000:
        time.sleep(0.5)
    cluster.remove_node(nodes[0], allow_graceful=False)
    print(f"driver: exit status {driver.wait()}")
    cluster.shutdown()
    print(f"a node of three removed: the same bytes: {_pictures(out) == wanted}")


def _pictures(folder: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in folder.glob("*/*.png")}
    print(f"{len(found):,} pictures")
    return found


MEASUREMENTS = (workers, unlike, ray, scheduling, resuming, kills)


def main() -> int:
    """Measure what is named, or everything."""
    names = [measure.__name__ for measure in MEASUREMENTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names, []], default=names)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # as the command sets it, and Ray
    home = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        for measure in MEASUREMENTS:
            if measure.__name__ in given.names:
                measure(home)
    finally:
        shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
