"""Measurements in a separate process: `python -m benchmarks.child WHAT PEER ARGUMENT`.

`first-image PEER FILE` loads digits-16, runs DDIM with 50 steps and saves a PNG. The others print
JSON: `memory PEER BATCH` the peak resident memory of 3 steps of the google/ddpm-cifar10-32 shape
beyond the weights and their copies, `load PEER FOLDER` the seconds and `load-memory PEER FOLDER`
the peak resident memory of loading a model.
"""

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_DIGITS = _ROOT / "models" / "digits-16"


def run(*arguments: object, threads: int) -> Any:
    """Start this module and return what it prints."""
    command = [sys.executable, "-m", "benchmarks.child", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    result = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def _peak_bytes(call: Callable[[], object]) -> int:
    """Return the peak resident memory of a call, relative to its start."""
    import psutil

    gc.collect()  # garbage from the imports must not count
    memory = psutil.Process().memory_info
    seen, end = [memory().rss], threading.Event()

    def watch() -> None:
        while not end.wait(0.002):
            seen.append(memory().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    kept = call()
    end.set()
    thread.join()
    peak = max(*seen, memory().rss) - seen[0]
    del kept
    return peak


# These imports are part of what is timed: each peer imports what it needs, the fastest way.


def _our_image(target: Path) -> None:
    import torch
    from comfyui_unconditional.checkpoints.files import find_files
    from comfyui_unconditional.checkpoints.reading import read_checkpoint
    from comfyui_unconditional.networks.placement import place_weights
    from comfyui_unconditional.pictures.images import latent_to_image
    from comfyui_unconditional.schedulers.config import SchedulerConfig
    from comfyui_unconditional.schedulers.ddim import DDIM
    from comfyui_unconditional.schedulers.randomness import SeededNoise
    from comfyui_unconditional.schedulers.sampler import drain
    from comfyui_unconditional.schedulers.span import Stretch
    from comfyui_unconditional.unet.unet2d import UNet2D
    from PIL import Image

    checkpoint = read_checkpoint(find_files(_DIGITS))
    network = place_weights(checkpoint.build(UNet2D), torch.device("cpu"))
    sampler = DDIM.over(SchedulerConfig.from_dict(checkpoint.scheduler or {}), Stretch(50))
    noise = SeededNoise([7], (1, 16, 16))
    with torch.inference_mode():
        image = latent_to_image(drain(sampler.sample(network, noise(), noise)))
    Image.fromarray((image[0, ..., 0].clamp(0, 1) * 255).round().byte().numpy()).save(target)


def _their_image(target: Path) -> None:
    from devtools.torchvision_on_cpu import declare_missing_operators

    declare_missing_operators()
    # From their modules, which is faster than importing `diffusers`, and without a pipeline.
    import torch
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from PIL import Image

    network = UNet2DModel.from_pretrained(_DIGITS / "unet", low_cpu_mem_usage=True).eval()
    scheduler = DDIMScheduler.from_pretrained(_DIGITS / "scheduler")
    scheduler.set_timesteps(50)
    x = torch.randn((1, 1, 16, 16), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
    pixels = ((x[0, 0] / 2 + 0.5).clamp(0, 1) * 255).round().byte()
    Image.fromarray(pixels.numpy()).save(target)


def _loader(peer: str, folder: Path) -> Callable[[], object]:
    """Return a function that loads a model and reads each weight, since mapping is not loading."""
    if peer == "ours":
        from comfyui_unconditional.checkpoints.files import find_files
        from comfyui_unconditional.checkpoints.reading import read_checkpoint
        from comfyui_unconditional.unet.unet2d import UNet2D

        def load() -> Any:
            return read_checkpoint(find_files(folder)).build(UNet2D)
    else:
        from devtools.torchvision_on_cpu import declare_missing_operators

        declare_missing_operators()
        from diffusers.models.unets.unet_2d import UNet2DModel

        def load() -> Any:
            return UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=True)

    def load_and_read() -> object:
        model = load()
        for parameter in model.parameters():
            parameter.detach().sum()
        return model

    return load_and_read


def _memory(peer: str, batch: int) -> dict[str, int]:
    import torch
    from comfyui_unconditional.networks.prepared import PreparedWeight

    from .peers import CIFAR, make_peers, our_sampler, sample_ours, sample_theirs

    peers, seeds = make_peers(CIFAR, torch.device("cpu")), range(batch)
    sampler = our_sampler("DDIM", peers.scheduler, 3)
    weights = sum(parameter.nbytes for parameter in peers.ours.parameters())
    if peer == "diffusers":
        peak = _peak_bytes(lambda: sample_theirs(peers, "DDIM", seeds, 3))
        return {"weights": weights, "prepared": 0, "beyond": peak}
    peak = _peak_bytes(lambda: sample_ours(peers.ours, peers.shape, sampler, seeds))
    copies = [each.value for each in gc.get_objects() if isinstance(each, PreparedWeight)]
    prepared = sum(torch.ops.mkldnn._nbytes(copy) for copy in copies if copy is not None)
    return {"weights": weights, "prepared": prepared, "beyond": peak - prepared}


def _load(peer: str, folder: Path) -> dict[str, float]:
    import torch  # noqa: F401 -- not counted among the imports

    start = time.perf_counter()
    load = _loader(peer, folder)
    importing = time.perf_counter() - start
    gc.collect()
    start = time.perf_counter()
    kept = load()
    seconds = time.perf_counter() - start
    del kept
    return {"seconds": seconds, "importing": importing}


def _main(what: str, peer: str, argument: str) -> Any:
    match what:
        case "first-image":
            return (_our_image if peer == "ours" else _their_image)(Path(argument))
        case "memory":
            return _memory(peer, int(argument))
        case "load":
            return _load(peer, Path(argument))
        case _:
            return _peak_bytes(_loader(peer, Path(argument)))


if __name__ == "__main__":
    print(json.dumps(_main(*sys.argv[1:])))
