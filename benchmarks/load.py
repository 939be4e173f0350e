"""Loading time and memory compared with diffusers: `python -m benchmarks.load`.

A model of the size of google/ddpm-cat-256 (114 M parameters, random) is written to a temporary
folder. Each measurement runs in its own process; ours and theirs alternate. Loading ends when a
computation has read every weight once, so a file that is only mapped does not count as loaded. By
then ours has also checked each weight for NaN, which diffusers does not.
"""

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

MODEL = {
    "sample_size": 256,
    "block_out_channels": (128, 128, 256, 256, 512, 512),
    "down_block_types": (*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4),
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
_ROOT = Path(__file__).parent.parent
MAX_TIME = 0.5
MAX_MEMORY = 1.1


class Peak:
    """The peak resident memory of a ``with`` block, relative to its start."""

    def __enter__(self) -> "Peak":
        import psutil

        self._process = psutil.Process()
        self._start = self._most = self._process.memory_info().rss
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._end.wait(0.002):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.bytes = max(self._most, self._process.memory_info().rss) - self._start


def _measure(peer: str, folder: Path, *, memory: bool) -> dict[str, float]:
    import torch

    begin = time.perf_counter()
    if peer == "ours":
        from comfyui_unconditional.checkpoints.files import find_files
        from comfyui_unconditional.checkpoints.reading import read_checkpoint
        from comfyui_unconditional.unet.unet2d import UNet2D

        def load() -> torch.nn.Module:
            return read_checkpoint(find_files(folder)).build(UNet2D)
    else:
        from devtools.torchvision_on_cpu import declare_missing_operators

        declare_missing_operators()
        from diffusers.models.unets.unet_2d import UNet2DModel

        def load() -> torch.nn.Module:
            return UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=True)

    def load_and_read() -> torch.nn.Module:
        model = load()
        for parameter in model.parameters():
            parameter.detach().sum()
        return model

    importing = time.perf_counter() - begin
    gc.collect()  # garbage from the imports must not count
    if memory:  # measured separately: the watching thread takes time
        with Peak() as peak:
            model = load_and_read()
        found = {"bytes": float(peak.bytes)}
    else:
        start = time.perf_counter()
        model = load_and_read()
        found = {"seconds": time.perf_counter() - start, "importing": importing}
    assert sum(parameter.numel() for parameter in model.parameters()) > 10**8
    return found


def _write(folder: Path) -> int:
    """Write the model and return the size of its weights' file in bytes."""
    import torch
    from comfyui_unconditional.checkpoints.saving import save_model
    from comfyui_unconditional.schedulers.config import SchedulerConfig
    from comfyui_unconditional.unet.config import UNetConfig
    from comfyui_unconditional.unet.unet2d import UNet2D

    torch.manual_seed(0)
    config = UNetConfig.from_dict(MODEL)
    save_model(folder, UNet2D(config).state_dict(), config, SchedulerConfig())
    return (folder / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size


def main() -> int:
    """Measure, print, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", choices=["ours", "diffusers"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        print(json.dumps(_measure(given.peer, given.folder, memory=given.memory)))
        return 0

    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        size = _write(folder)
        print(f"{size / 1e6:.0f} MB of weights, {given.rounds} rounds, {platform.platform()}")
        for _ in range(given.rounds):
            for peer in ("ours", "diffusers"):
                for extra in ([], ["--memory"]):
                    command = [sys.executable, "-m", "benchmarks.load", "--peer", peer]
                    command += ["--folder", str(folder)]
                    output = subprocess.check_output([*command, *extra], text=True, cwd=_ROOT)
                    for name, value in json.loads(output.splitlines()[-1]).items():
                        found.setdefault(f"{peer} {name}", []).append(value)

    medians = {name: statistics.median(values) for name, values in found.items()}
    for peer in ("ours", "diffusers"):
        seconds = found[f"{peer} seconds"]
        print(
            f"{peer:<10} {medians[f'{peer} seconds']:6.3f} s ({min(seconds):.3f} to "
            f"{max(seconds):.3f}), peak {medians[f'{peer} bytes'] / 1e6:.0f} MB = "
            f"{medians[f'{peer} bytes'] / size:.2f} of the file; "
            f"before that, {medians[f'{peer} importing']:.3f} s of imports in addition to torch"
        )
    ratios = {
        "time relative to diffusers": (
            medians["ours seconds"] / medians["diffusers seconds"],
            MAX_TIME,
        ),
        "memory relative to the file": (medians["ours bytes"] / size, MAX_MEMORY),
    }
    for name, (ratio, target) in ratios.items():
        verdict = "reached" if ratio <= target else "MISSED"
        print(f"{name}: {ratio:.2f}, target {target} {verdict}")
    return int(any(ratio > target for ratio, target in ratios.values()))


if __name__ == "__main__":
    sys.exit(main())
