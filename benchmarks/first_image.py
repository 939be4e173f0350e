"""Generate and save one image: `python -m benchmarks.first_image ours FILE`.

It loads digits-16 and runs DDIM with 50 steps. With `--memory BATCH` it runs 3 steps with the
google/ddpm-cifar10-32 shape instead, and prints the peak resident memory in addition to the
weights.
"""

import sys
from pathlib import Path

_DIGITS = Path(__file__).resolve().parent.parent / "models" / "digits-16"


def _ours(target: Path) -> None:
    import torch
    from comfyui_unconditional.checkpoints.files import find_files
    from comfyui_unconditional.checkpoints.reading import read_checkpoint
    from comfyui_unconditional.pictures.images import latent_to_image
    from comfyui_unconditional.schedulers.config import SchedulerConfig
    from comfyui_unconditional.schedulers.ddim import DDIM
    from comfyui_unconditional.schedulers.randomness import SeededNoise
    from comfyui_unconditional.schedulers.sampler import drain
    from comfyui_unconditional.schedulers.span import Stretch
    from comfyui_unconditional.unet.placement import place_weights
    from comfyui_unconditional.unet.unet2d import UNet2D
    from PIL import Image

    checkpoint = read_checkpoint(find_files(_DIGITS))
    network = place_weights(checkpoint.build(UNet2D), torch.device("cpu"))
    config = SchedulerConfig.from_dict(checkpoint.scheduler or {})
    sampler = DDIM.over(config, Stretch(50))
    noise = SeededNoise([7], (1, 16, 16))
    with torch.inference_mode():
        image = latent_to_image(drain(sampler.sample(network, noise(), noise)))
    pixels = (image[0, ..., 0].clamp(0, 1) * 255).round().byte()
    Image.fromarray(pixels.numpy()).save(target)


def _theirs(target: Path) -> None:
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


def _memory(peer: str, batch: int) -> int:
    import gc

    import torch

    from .load import Peak
    from .peers import make_peers, our_sampler, sample_ours, sample_theirs

    peers = make_peers("ddpm-cifar10-32", torch.device("cpu"))
    seeds = range(batch)
    run = our_sampler("DDIM", peers.scheduler, 3)
    gc.collect()
    with Peak() as peak:
        if peer == "ours":
            sample_ours(peers.ours, peers.shape, run, seeds)
        else:
            sample_theirs(peers, "DDIM", seeds, 3)
    return peak.bytes


if __name__ == "__main__":
    peer, target = sys.argv[1:3]
    if target == "--memory":
        print(_memory(peer, int(sys.argv[3])))
    else:
        (_ours if peer == "ours" else _theirs)(Path(target))
