"""Images that a network draws while it trains."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..networks.batch_parts import even_part, fastest_part
from ..schedulers.config import SchedulerConfig
from ..schedulers.pndm import PNDM
from ..schedulers.randomness import SeededNoise
from ..schedulers.sampler import Evaluation, Model, Sampler, drain
from ..schedulers.span import Stretch
from ..unet.unet2d import UNet2D
from .options import Precision
from .precision import computing_in

EVALUATIONS = 20


def draw(
    network: UNet2D,
    config: SchedulerConfig,
    size: tuple[int, int],
    seeds: Sequence[int],
    *,
    precision: Precision = "float32",
    check_cancelled: Callable[[], object] = lambda: None,
) -> Tensor:
    """Draw an image for each seed, with 20 evaluations (iPNDM_v, power).

    Args:
        network: with weights in float32; its mode (training or evaluation) is kept.
        config: its noise schedule.
        size: height and width.
        seeds: of the initial noise; a seed gives about the same image throughout the training.
        precision: of the network's layers.
        check_cancelled: called before each evaluation.

    Returns:
        float32, shape (len(seeds), C, H, W) in -1..1, on the CPU.
    """
    device = next(network.parameters()).device
    shape = (network.config.in_channels, *size)
    steps = min(EVALUATIONS, config.num_train_timesteps)
    sampler = PNDM.over(config, Stretch(steps), "power", method="iPNDM_v")
    was_training = network.training

    def model(x_t: Tensor, t: float) -> Tensor:
        check_cancelled()
        return network(x_t, t * config.timestep_scale).float()

    bytes_for_one = network.activation_bytes((1, *shape), torch.float32)
    # As many at once as in a training step, or fewer: the memory suffices for that.
    at_once = min(fastest_part(len(seeds), bytes_for_one, device), 8)
    batch = even_part(len(seeds), at_once)
    try:
        network.eval()
        with torch.inference_mode(), computing_in(precision, device):
            return draw_in_batches(model, sampler, shape, seeds, batch, device).clamp(-1, 1)
    finally:
        network.train(was_training)


def draw_in_batches(
    model: Model,
    sampler: Sampler,
    shape: tuple[int, int, int],
    seeds: Sequence[int],
    batch: int,
    device: torch.device,
    on_evaluation: Callable[[Evaluation], object] = id,
) -> Tensor:
    """Return an image for each seed, not clamped, float32 on the CPU, shape (len(seeds), *shape).

    Args:
        model: as the sampler calls it.
        sampler: over a whole list of timesteps.
        shape: (C, H, W) of one image.
        seeds: an image depends on its seed alone, not on the batch.
        batch: how many are drawn at once.
        device: of the model.
        on_evaluation: called after each call of the model.
    """
    images = []
    for first in range(0, len(seeds), batch):
        noise = SeededNoise(seeds[first : first + batch], shape)
        x = drain(sampler.sample(model, noise().to(device), noise), on_evaluation)
        images.append(x.float().cpu())
    return torch.cat(images)
