"""Few pictures: ours with small_data and the script's recipe with averaging, in equal time."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from comfyui_unconditional.models.digits import UNET, digits
from comfyui_unconditional.models.judge import as_saved
from comfyui_unconditional.models.sampling import draw
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.training.copying import CopyGauge
from comfyui_unconditional.training.picture_set import PictureSet
from comfyui_unconditional.training.plan import SmallData
from comfyui_unconditional.unet.unet2d import UNet2D
from torch import Tensor

from ..quality.distances import distances, features_of
from .ours import NODE_OPTIONS, begin, train_for
from .script import Script

TRAINING = 200
SAMPLES = 1000
STEPS = 50
_BATCH = 100

Trained = tuple[UNet2D, SchedulerConfig, int]
"""The averaged network, its noise schedule, and its number of training steps."""


def measure(peers: list[str], device: torch.device, seconds: float, seeds: list[int]) -> None:
    """Train each peer for ``seconds`` on 200 digits, and compare its images with the others.

    Args:
        peers: names of ``PEERS``.
        device: where to train and to draw.
        seconds: for each.
        seeds: each selects different training digits and initial weights.
    """
    print("| digits | peer | steps | Fréchet distance to new digits | copies | distance ratio |")
    print("|---|---|---|---|---|---|", flush=True)
    for seed in seeds:
        images, held_out = split(seed)
        features = features_of(held_out)
        print(f"| {seed} | the 200 digits | | {apart(images, features):.3f} | | |")
        gauge = CopyGauge(PictureSet.of_tensor(images), flip=False, rotate=False)
        for peer in peers:
            network, scheduler, steps = PEERS[peer](images, device, seconds, seed)
            samples = sample(network, scheduler)
            copying = gauge.measure(samples)
            ratio = "-" if copying.ratio is None else f"{copying.ratio:.2f}"
            print(
                f"| {seed} | {peer} | {steps} | {apart(samples, features):.3f} | "
                f"{copying.copies} of {copying.samples} | {ratio} |",
                flush=True,
            )


def apart(images: Tensor, features: Tensor) -> float:
    """Return the Fréchet distance of images from a set with these features."""
    return distances(features_of(images), features)["frechet"]


def split(seed: int) -> tuple[Tensor, Tensor]:
    """Return 200 digits to train on and the other 1,597, as they would be saved."""
    images = as_saved(digits()[0])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images[order[:TRAINING]], images[order[TRAINING:]]


def sample(network: UNet2D, scheduler: SchedulerConfig) -> Tensor:
    """Draw 1,000 digits (F-PNDM, 50 steps), as they would be saved."""
    sampler = PNDM.over(scheduler, Stretch(STEPS))
    shape = (UNET.in_channels, *UNET.size)
    return as_saved(draw(network, sampler, shape, range(SAMPLES), _BATCH))


def _ours(small_data: SmallData) -> Callable[[Tensor, torch.device, float, int], Trained]:
    def train(images: Tensor, device: torch.device, seconds: float, seed: int) -> Trained:
        options = replace(NODE_OPTIONS, steps=10_000_000, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            run = begin(
                images,
                Path(folder),
                unet=UNET,
                options=options,
                device=device,
                small_data=small_data,
            )
            train_for(run, seconds)
            return run.averaged, run.scheduler_config, run.step

    return train


def _script(images: Tensor, device: torch.device, seconds: float, seed: int) -> Trained:
    torch.manual_seed(seed)
    script, start = Script(UNet2D(UNET), images, device, seed), time.perf_counter()
    while (done := (time.perf_counter() - start) / seconds) < 1:
        script.step(done)
    return script.averaged, SchedulerConfig(), script.steps


PEERS: dict[str, Callable[[Tensor, torch.device, float, int], Trained]] = {
    "ours": _ours("on"),
    "ours-off": _ours("off"),
    "script": _script,
}
"""By name: ours with small_data on or off, and the script's recipe with averaging."""
