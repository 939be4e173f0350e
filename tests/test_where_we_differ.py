"""Where diffusers is wrong we are right: each difference shown, and shown to be one."""

import dataclasses

import oracle
import ours
import pytest
import torch
from denoisers import SHAPE, Denoiser, Exact
from ours import SEEDS

from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.timesteps import make_timesteps


def exact_case() -> tuple[torch.Tensor, Exact, SchedulerConfig]:
    """Noise and a model that knows it: every right sampler ends at x0 = 0.3 (1 - sqrt(a))...

    x_T is drawn as pure noise, so the image that it stands for is (x_T - sigma eps) / alpha.
    """
    eps = SeededNoise(SEEDS, SHAPE)()
    config = SchedulerConfig(clip_sample=False, set_alpha_to_one=True)
    return eps, Exact(torch.zeros_like(eps), eps), config


@pytest.mark.parametrize(
    ("spacing", "steps"), [("linspace", 50), ("linspace", 20), ("trailing", 33), ("trailing", 7)]
)
@pytest.mark.parametrize("sampler", ["DDIM", "PLMS", "F-PNDM"])
def test_the_previous_timestep_comes_from_the_list(
    spacing: str, steps: int, sampler: str
) -> None:
    eps, model, config = exact_case()
    config = dataclasses.replace(config, timestep_spacing=spacing)
    # Following the true noise is exact for any step, so the end is known in closed form.
    a = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[make_timesteps(config, steps)[0]]
    expected = (eps - (1 - a).sqrt() * eps) / a.sqrt()
    if sampler == "DDIM":
        result = ours.run_ddim(config, steps, model, SEEDS, SHAPE)
        theirs = oracle.run_ddim(config, steps, model, SEEDS, SHAPE)
    else:
        result = ours.run_pndm(config, steps, model, SEEDS, SHAPE, method=sampler)  # type: ignore[arg-type]
        theirs = oracle.run_pndm(
            config, steps, model, SEEDS, SHAPE, skip_prk_steps=sampler == "PLMS"
        )
    size = expected.abs().max()
    assert (result - expected).abs().max() < 1e-3 * size
    assert (theirs - expected).abs().max() > 1e-2 * size


def test_the_runge_kutta_midpoint_of_an_uneven_list_is_the_floor_of_the_mean() -> None:
    config = SchedulerConfig(timestep_spacing="linspace")
    denoise = Denoiser(config)
    ours.run_pndm(config, 40, denoise, SEEDS, SHAPE)
    assert make_timesteps(config, 40)[:3] == [999, 973, 948]
    assert denoise.times[:8] == [999, 986, 986, 973, 973, 960, 960, 948]


@pytest.mark.parametrize("options", [{"timestep_spacing": "trailing"}, {"steps_offset": 1}], ids=str)
def test_ddpm_adds_no_noise_in_the_step_that_ends_at_the_data(options: dict[str, object]) -> None:
    config = SchedulerConfig(variance_type="fixed_large", **options)  # type: ignore[arg-type]
    result = ours.run_ddpm(config, 10, Denoiser(config), SEEDS, SHAPE)
    theirs = oracle.run_ddpm(config, 10, Denoiser(config), SEEDS, SHAPE)
    # Without noise the last step returns its predicted image, which is clipped.
    assert result.abs().max() <= 1 + 1e-6
    assert (result - theirs).abs().max() > 1e-2

    # All that differs is that last draw: undo it, and the images agree.
    noise = SeededNoise(SEEDS, SHAPE)
    for _ in range(11):  # x_T, nine steps, and the last that should not be
        last = noise()
    t = make_timesteps(config, 10)[-1]
    beta = 1 - torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[t]
    torch.testing.assert_close(result, theirs - beta.sqrt() * last, atol=1e-5, rtol=0)
