"""From images to the noise that gives them and back, without a host."""

import json

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.schedulers.bdia import BDIA, BDIAInversion, DDIMInversion
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.sampler import Evaluation, Model, ScheduleSampler, drain
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.unet.unet2d import UNet2D
from denoisers import Denoiser
from ours import DEEP_FIELD, DIGITS, counting
from torch import Tensor

UNCLIPPED = SchedulerConfig(clip_sample=False)
STEPS = 20


def no_noise() -> Tensor:
    raise AssertionError("inversion and BDIA draw no noise")


def run(
    kind: type[ScheduleSampler],
    model: Model,
    x: Tensor,
    kept: list[Evaluation] | None = None,
    config: SchedulerConfig = UNCLIPPED,
    steps: int = STEPS,
    **settings,
) -> Tensor:
    spacing = settings.pop("spacing", None)
    sampler = kind.over(config, Stretch(steps), spacing, dtype=x.dtype, **settings)
    calls: list[float] = []
    with torch.inference_mode():
        sampling = sampler.sample(counting(model, calls), x, no_noise)
        result = drain(sampling, ([] if kept is None else kept).append)
    assert len(calls) == sampler.evaluations
    return result


def there_and_back(model: Model, x0: Tensor, **how) -> tuple[Tensor, Tensor, Tensor]:
    """The noise of images, its rest, and the images drawn from both."""
    kept: list[Evaluation] = []
    noise = run(BDIAInversion, model, x0, kept, **how)
    of = {name: value for name, value in how.items() if name not in ("config", "steps", "spacing")}
    config, stretch = how.get("config", UNCLIPPED), Stretch(how.get("steps", STEPS))
    way = BDIAInversion.over(config, stretch, how.get("spacing"), dtype=x0.dtype, **of)
    rest = way.rest(*kept[-2:])
    states = torch.cat((noise, rest), dim=1)
    return noise, rest, run(BDIA, model, noise, states=states, **how)


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def some_images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("steps", [1, 2, STEPS])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"set_alpha_to_one": False},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        {"prediction_type": "sample", "timestep_spacing": "trailing"},
        {"beta_schedule": "squaredcos_cap_v2", "clip_sample": True},
    ],
)
def test_the_pair_gives_the_image_back_exactly(options, steps, gamma, figure):
    config = UNCLIPPED.changed(**options)
    x0 = some_images(2, 3, 8, 8)
    _, _, back = there_and_back(Denoiser(config), x0, config=config, steps=steps, gamma=gamma)
    figure("BDIA: there and back, float64", rms(back - x0), 1e-10)


@pytest.mark.parametrize("spacing", [None, "power"])
@pytest.mark.parametrize(
    ("folder", "shape"), [(DIGITS, (2, 1, 16, 16)), (DEEP_FIELD, (1, 3, 32, 32))]
)
def test_the_bundled_models_give_an_image_back(folder, shape, spacing, figure):
    network = read_checkpoint(find_files(folder)).build(UNet2D)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    how = {"config": SchedulerConfig.from_dict(json.loads(scheduler.read_text()))}
    how["spacing"] = spacing
    x0 = 0.5 * some_images(*shape).float() - 0.5
    noise, _, back = there_and_back(network, x0, **how)
    figure("BDIA: there and back, float32", rms(back - x0), 1e-5)
    alone = run(BDIA, network, noise, **how)
    assert rms(alone - x0) > 1e-3  # the noise without its rest is not enough


def test_ddim_s_inversion_comes_closer_with_more_steps():
    model, x0 = Denoiser(UNCLIPPED), some_images(2, 3, 8, 8)
    apart = [
        rms(run(DDIM, model, run(DDIMInversion, model, x0, steps=n), steps=n) - x0)
        for n in (10, 50, 250)
    ]
    assert apart[0] > 2 * apart[1] > 4 * apart[2]


def test_without_a_rest_bdia_draws_nearly_what_ddim_draws():
    model = Denoiser(UNCLIPPED)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    apart = [rms(run(BDIA, model, x, steps=n) - run(DDIM, model, x, steps=n)) for n in (20, 200)]
    assert apart[1] < apart[0] / 5


@pytest.mark.parametrize("gamma", [0.0, -1.0, 1.5, float("nan")])
@pytest.mark.parametrize("kind", [BDIA, BDIAInversion])
def test_a_gamma_that_cannot_be_inverted_is_rejected(kind, gamma):
    with pytest.raises(ScheduleError, match="gamma must be above 0 and at most 1"):
        kind.over(UNCLIPPED, Stretch(5), gamma=gamma)
