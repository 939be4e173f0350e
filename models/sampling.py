"""Draw images with a model on disk, to measure them."""

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoints.files import find_files
from ..checkpoints.reading import read_checkpoint
from ..networks.placement import place_weights
from ..schedulers.config import SchedulerConfig
from ..schedulers.sampler import Sampler
from ..training.preview import draw_in_batches
from ..unet.unet2d import UNet2D


def read_model(folder: Path, device: str = "cpu") -> tuple[UNet2D, SchedulerConfig]:
    """Return a network in float32, and its noise schedule.

    Raises:
        ValueError: the model cannot be loaded, or has no noise schedule.
    """
    checkpoint = read_checkpoint(find_files(folder), torch.float32)
    if checkpoint.scheduler is None:
        raise ValueError(
            f"{folder} has no scheduler_config.json, so its noise schedule is unknown. Add one."
        )
    config = checkpoint.read_process()
    assert isinstance(config, SchedulerConfig)
    network = checkpoint.build(UNet2D).to(device)
    return place_weights(network, torch.device(device)), config


@torch.inference_mode()
def draw(
    network: UNet2D, sampler: Sampler, shape: tuple[int, int, int], seeds: range, batch: int
) -> Tensor:
    """Return an image for each seed, not clamped, float32 on the CPU, shape (len(seeds), *shape).

    Args:
        network: one with the samplers' process.
        sampler: over a whole list of timesteps.
        shape: (C, H, W) of one image.
        seeds: an image depends on its seed alone, not on the batch.
        batch: how many are drawn at once.
    """
    device = next(network.parameters()).device
    calls = sampler.evaluations * -(-len(seeds) // batch)
    with tqdm(total=calls, desc="Sampling", unit="call") as bar:
        return draw_in_batches(
            network, sampler, shape, seeds, batch, device, lambda _: bar.update()
        )
