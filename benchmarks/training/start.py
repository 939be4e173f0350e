"""How bright skies become because a sampler starts with noise alone.

The network is replaced by the best possible one, which is known for a few thousand crops of a
picture: it predicts the mean of all crops, weighted by how likely each is behind the noisy image.
All errors in its images come from the schedule and the sampler.
"""

from dataclasses import dataclass, replace

import torch
from comfyui_unconditional.models.deep_field import UNET, pictures
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.training.plan import SCHEDULER
from torch import Tensor

SKIES, STEPS = 256, 50
_STRIDE = 16
_BEST = replace(SCHEDULER, prediction_type="epsilon")  # without errors, all types are the same
SCHEDULES = {
    "beta_end 0.02, leading": replace(_BEST, beta_end=0.02, timestep_spacing="leading"),
    "beta_end 0.02": replace(_BEST, beta_end=0.02),
    "beta_end 0.025": replace(_BEST, beta_end=0.025),
    "beta_end 0.03": _BEST,
}


@dataclass(frozen=True)
class Ideal:
    """The network with the lowest possible loss on some images, shape (n, C, H, W) in -1..1."""

    images: Tensor
    alphas_cumprod: Tensor

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        """Predict the noise."""
        a, x, images = self.alphas_cumprod[int(t)].item(), x_t.flatten(1), self.images.flatten(1)
        logits = a**0.5 * x @ images.T - a / 2 * images.square().sum(1)
        x0 = torch.softmax(logits.double() / (1 - a), dim=1).float() @ images
        return ((x - a**0.5 * x0) / (1 - a) ** 0.5).reshape(x_t.shape)


@torch.inference_mode()
def measure() -> None:
    """Draw skies with each schedule, from noise alone and from the noise of the training."""
    side = UNET.size[0]
    crops = pictures()[0].unfold(1, side, _STRIDE).unfold(2, side, _STRIDE)
    images = crops.permute(1, 2, 0, 3, 4).reshape(-1, 3, side, side).float() / 127.5 - 1
    print("| schedule | start | mean of 255 | standard deviation |\n|---|---|---|---|")
    _print("the crops", "", images)
    for name, config in SCHEDULES.items():
        _print(name, "noise alone", _draw(images, config, 0.0))
        _print(name, "with its trace of the data", _draw(images, config, images.mean().item()))


def _draw(images: Tensor, config: SchedulerConfig, mean: float) -> Tensor:
    """Draw skies from noise around the trace of ``mean`` at the first timestep."""
    table = NoiseSchedule.from_config(config).alphas_cumprod
    sampler = DDIM.over(config, Stretch(STEPS))
    noise = SeededNoise(range(SKIES), images.shape[1:])
    x = noise() + table[sampler.span.timesteps[0]].sqrt() * mean
    return drain(sampler.sample(Ideal(images, table), x, noise))


def _print(name: str, start: str, images: Tensor) -> None:
    levels = (images + 1) * 127.5
    print(f"| {name} | {start} | {levels.mean():.1f} | {levels.std():.1f} |", flush=True)
