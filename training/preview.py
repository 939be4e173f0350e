"""Images that a network draws while it trains."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..networks.batch_parts import even_part, fastest_part
from ..schedulers.config import SchedulerConfig
from ..schedulers.pndm import PNDM
from ..schedulers.randomness import SeededNoise
from ..schedulers.sampler import drain
from ..schedulers.span import Stretch
from ..unet.unet2d import UNet2D
from .options import Precision
from .precision import computing_in

STEPS = 19
EVALUATIONS = STEPS + 1
"""S-PNDM evaluates its first step twice."""


def draw(
    network: UNet2D,
    config: SchedulerConfig,
    size: tuple[int, int],
    seeds: Sequence[int],
    *,
    precision: Precision = "float32",
    check_cancelled: Callable[[], object] = lambda: None,
) -> Tensor:
    """Draw an image for each seed, with 20 evaluations (S-PNDM).

    Args:
        network: with weights in float32; its mode, training or evaluation, is kept.
        config: its noise schedule.
        size: height and width.
        seeds: of the initial noise; the same seed gives about the same image as training goes on.
        precision: of the network's layers.
        check_cancelled: called before each evaluation.

    Returns:
        float32, shape (len(seeds), C, H, W) in -1..1, on the CPU.
    """
    weights = next(network.parameters())
    shape = (network.config.in_channels, *size)
    sampler = PNDM.over(config, Stretch(min(STEPS, config.num_train_timesteps)), method="S-PNDM")
    was_training = network.training

    def model(x_t: Tensor, t: float) -> Tensor:
        check_cancelled()
        return network(x_t, t * config.timestep_scale).float()

    bytes_for_one = network.activation_bytes((1, *shape), torch.float32)
    # As many at once as a training step computes, or fewer: its memory is large enough.
    at_once = min(fastest_part(len(seeds), bytes_for_one, weights.device), 8)
    images = []
    try:
        network.eval()
        with torch.inference_mode(), computing_in(precision, weights.device):
            for k in range(0, len(seeds), even_part(len(seeds), at_once)):
                part = seeds[k : k + even_part(len(seeds), at_once)]
                noise = SeededNoise(part, shape)
                x = drain(sampler.sample(model, noise().to(weights.device), noise))
                images.append(x.float().clamp(-1, 1).cpu())
    finally:
        network.train(was_training)
    return torch.cat(images)
