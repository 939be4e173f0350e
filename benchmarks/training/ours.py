"""Our trainer, as the benchmarks use it."""

from dataclasses import replace
from pathlib import Path

import torch
from comfyui_unconditional.training.options import TrainingOptions
from comfyui_unconditional.training.picture_set import PictureSet
from comfyui_unconditional.training.plan import Plan, SmallData, Start
from comfyui_unconditional.training.processes import Processes
from comfyui_unconditional.training.trainer import TrainingRun
from comfyui_unconditional.unet.config import UNetConfig
from torch import Tensor

NODE_OPTIONS = TrainingOptions(batch_size=16, learning_rate=2e-4, save_every=1_000_000)
"""The defaults of the node *Train Unconditional UNet*."""


def begin(
    images: Tensor,
    folder: Path,
    *,
    unet: UNetConfig,
    options: TrainingOptions,
    device: torch.device,
    start: Start | None = None,
    small_data: SmallData = "off",
) -> TrainingRun:
    """Begin a run.

    Args:
        images: shape (n, C, H, W), uint8 in 0..255 or float32 in -1..1.
        folder: for its state.
        unet: the network.
        options: how to train, with what ``small_data`` adds.
        device: where to train.
        start: a model to train further, with its noise schedule.
        small_data: as in the node.
    """
    plan = Plan.make(PictureSet.of_tensor(images), options, small_data=small_data, start=start)
    return replace(plan, unet=unet).begin(folder, Processes(device))


def step(run: TrainingRun) -> object:
    """Train for one step, without saving."""
    return run._train_step(run.step)


def train_for(run: TrainingRun, seconds: float) -> None:
    """Train until the steps have taken this long."""
    for _ in run.run():
        if run.progress.seconds >= seconds:
            break
