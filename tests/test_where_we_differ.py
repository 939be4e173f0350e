"""Where diffusers is wrong we are right: each difference shown, and shown to be one."""

import oracle
import ours
import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from denoisers import SHAPE, Denoiser, Exact
from ours import SEEDS


@pytest.mark.parametrize(
    ("spacing", "steps"), [("linspace", 50), ("linspace", 20), ("trailing", 33), ("trailing", 7)]
)
@pytest.mark.parametrize("sampler", ["DDIM", "PLMS", "F-PNDM"])
def test_the_previous_timestep_comes_from_the_list(spacing, steps, sampler):
    config = SchedulerConfig(
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing=spacing,
    )
    first = make_timesteps(config, steps)[0]
    model = Exact(config, first, SeededNoise(SEEDS, SHAPE)())
    if sampler == "DDIM":
        result = ours.run_ddim(config, steps, model, SEEDS, SHAPE)
        theirs = oracle.run_ddim(config, steps, model, SEEDS, SHAPE)
    else:
        result = ours.run_pndm(config, steps, model, SEEDS, SHAPE, method=sampler)
        theirs = oracle.run_pndm(
            config, steps, model, SEEDS, SHAPE, skip_prk_steps=sampler == "PLMS"
        )
    assert (result - model.x0).abs().max() < 1e-3
    assert (theirs - model.x0).abs().max() > 1e-2


def test_the_runge_kutta_midpoint_of_an_uneven_list_is_the_floor_of_the_mean():
    config = SchedulerConfig(timestep_spacing="linspace")
    denoise = Denoiser(config)
    ours.run_pndm(config, 40, denoise, SEEDS, SHAPE)
    assert make_timesteps(config, 40)[:3] == [999, 973, 948]
    assert denoise.times[:8] == [999, 986, 986, 973, 973, 960, 960, 948]


@pytest.mark.parametrize(
    "options", [{"timestep_spacing": "trailing"}, {"steps_offset": 1}], ids=str
)
def test_ddpm_adds_no_noise_in_the_step_that_ends_at_the_data(options):
    config = SchedulerConfig(variance_type="fixed_large", **options)
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
