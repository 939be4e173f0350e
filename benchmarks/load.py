"""Loading time and memory compared with diffusers: `python -m benchmarks.load`.

A model of the size of google/ddpm-cat-256 (114 M parameters, random) is written to a temporary
folder. Each measurement runs in its own process; ours and theirs alternate. Loading ends when a
computation has read every weight once. By then ours has also checked each weight for NaN, which
diffusers does not.
"""

import argparse
import platform
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D

from . import child
from .peers import SHAPES

MAX_TIME, MAX_MEMORY = 0.5, 1.1


def main() -> int:
    """Measure, print, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    threads = torch.get_num_threads()
    found: dict[str, dict[str, list[float]]] = {"ours": {}, "diffusers": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        torch.manual_seed(0)
        config = UNetConfig.from_dict(SHAPES["ddpm-cat-256"])
        save_model(folder, UNet2D(config).state_dict(), config, SchedulerConfig())
        size = (folder / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size
        print(f"{size / 1e6:.0f} MB of weights, {rounds} rounds, {platform.platform()}")
        for _ in range(rounds):
            for peer, figures in found.items():
                measured = child.run("load", peer, folder, threads=threads)
                # Measured separately: the thread that watches the memory takes time.
                measured["bytes"] = child.run("load-memory", peer, folder, threads=threads)
                for name, value in measured.items():
                    figures.setdefault(name, []).append(value)
    medians = {p: {n: statistics.median(v) for n, v in f.items()} for p, f in found.items()}
    for peer, each in medians.items():
        seconds = found[peer]["seconds"]
        print(
            f"{peer:<10} {each['seconds']:6.3f} s ({min(seconds):.3f} to {max(seconds):.3f}), "
            f"peak {each['bytes'] / 1e6:.0f} MB = {each['bytes'] / size:.2f} of the file; before "
            f"that, {each['importing']:.3f} s of imports in addition to torch"
        )
    time = medians["ours"]["seconds"] / medians["diffusers"]["seconds"]
    memory = medians["ours"]["bytes"] / size
    print(f"time relative to diffusers: {time:.2f}, target {MAX_TIME}")
    print(f"memory relative to the file: {memory:.2f}, target {MAX_MEMORY}")
    return int(time > MAX_TIME or memory > MAX_MEMORY)


if __name__ == "__main__":
    sys.exit(main())
