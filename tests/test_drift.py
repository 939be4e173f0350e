"""Settings that change the brightness of pictures are recognised."""

import pytest
import torch
from bundled import network
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.drift import Drift
from comfyui_unconditional.schedulers.sampler import ScheduleSampler, drain
from comfyui_unconditional.schedulers.span import Stretch
from torch import Tensor

SHAPE = (2, 3, 16, 16)


def cause(sampler: ScheduleSampler, brightness: float, error: float = 0.0) -> str | None:
    """The result for a run of a model of uniform pictures whose predicted noise has an error."""

    def model(x: Tensor, t: float) -> Tensor:
        a = sampler.alpha_cumprod(t)
        return (x - a.sqrt() * brightness) / (1 - a).sqrt() + error * x.flip(-1)

    drift = Drift(sampler, 3 * 16 * 16)
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    images = drain(sampler.sample(model, noise, lambda: torch.zeros(SHAPE)), drift)
    return drift.cause(images, from_noise=True)


def ddim(steps: int, **options) -> DDIM:
    return DDIM.over(SchedulerConfig(**options), Stretch(steps))


@pytest.mark.parametrize("brightness", [-0.9, 0.9])
def test_clipping_that_cuts_off_one_side_is_named(brightness):
    assert cause(ddim(20), brightness, error=0.05) == "clipping"


@pytest.mark.parametrize(
    ("sampler", "brightness", "error"),
    [
        (ddim(20, clip_sample=False), -0.9, 0.05),
        (ddim(20), 0.0, 0.05),  # as much on either side
        (ddim(20), -0.9, 0.0),  # nothing to cut off
        (DDPM.over(SchedulerConfig(), Stretch(20)), -0.9, 0.05),
    ],
    ids=["without clipping", "middle grey", "a good model", "DDPM"],
)
def test_clipping_that_moves_nothing_is_not_named(sampler, brightness, error):
    assert cause(sampler, brightness, error) is None


def test_a_start_where_the_model_expects_a_dark_picture_is_named():
    late = ddim(2, clip_sample=False)
    assert late.span.timesteps[0] == 500
    assert cause(late, -0.9) == "late_start"
    assert cause(late, 0.0) is None
    assert cause(ddim(2, clip_sample=False, timestep_spacing="trailing"), -0.9) is None


@pytest.mark.parametrize(("steps", "spacing"), [(4, "trailing"), (10, "leading"), (50, "trailing")])
def test_nothing_is_reported_for_the_bundled_digits(steps, spacing):
    sampler, unet = ddim(steps, timestep_spacing=spacing), network()
    drift = Drift(sampler, 16 * 16)
    noise = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        images = drain(sampler.sample(lambda x, t: unet(x, t), noise, lambda: noise), drift)
    assert drift.cause(images, from_noise=True) is None
