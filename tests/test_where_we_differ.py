"""Where this pack corrects diffusers: each difference, shown in both."""

from unittest import mock

import oracle
import ours
import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.repaint import Known, RePaint
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from denoisers import SHAPE, Denoiser, Exact
from diffusers import RePaintScheduler
from ours import SEEDS
from torch import Tensor


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

    # Only that last draw differs: undo it, and the images agree.
    noise = SeededNoise(SEEDS, SHAPE)
    for _ in range(11):  # x_T, nine steps, and the last that should not be
        last = noise()
    t = make_timesteps(config, 10)[-1]
    beta = 1 - torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[t]
    torch.testing.assert_close(result, theirs - beta.sqrt() * last, atol=1e-5, rtol=0)


def their_repaint(setting: tuple[int, int, int], known: Known, *, corrected: bool) -> Tensor:
    """diffusers' scheduler in the loop of its pipeline, with one draw for each step of ours.

    With ``corrected``, its jumps have the betas that lie between their two timesteps.
    """
    scheduler = RePaintScheduler(clip_sample=False)
    scheduler.set_timesteps(*setting)
    gap, own = 1000 // setting[0], scheduler.betas
    model, draws = Denoiser(SchedulerConfig(clip_sample=False)), SeededNoise(SEEDS, SHAPE)
    x, noises = draws(), []
    before = 1000
    place = "diffusers.schedulers.scheduling_repaint.randn_tensor"
    with mock.patch(place, side_effect=lambda *_, **__: noises.pop(0)):
        for t in scheduler.timesteps.tolist():
            if t < before:
                noises = [draws()]
                x = scheduler.step(model(x, t), t, x, known.image, 1 - known.mask).prev_sample
            else:
                first = before + 1 - gap if corrected else before
                betas = torch.cat((torch.zeros(gap), own))[gap + first : 2 * gap + first]
                # All of the noise is added in the last of them.
                std = ((1 - (1 - betas).prod()) / betas[-1]).sqrt()
                noises = [torch.zeros_like(x)] * (gap - 1) + [std * draws()]
                scheduler.betas = torch.cat((torch.zeros(before), betas))
                x = scheduler.undo_step(x, before)
            before = t
    return x


@pytest.mark.parametrize("setting", [(20, 3, 4), (250, 10, 2)])
def test_a_jump_of_repaint_ends_at_the_noise_level_of_its_timestep(setting, figure):
    config = SchedulerConfig(clip_sample=False)
    image = torch.rand(len(SEEDS), *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    known = Known(image, (torch.arange(SHAPE[2]) >= SHAPE[2] // 2).float())
    steps, length, resamplings = setting
    sampler = RePaint.over(
        config, Stretch(steps), jump_length=length, resamplings=resamplings, known=known
    )
    noise = SeededNoise(SEEDS, SHAPE)
    result = drain(sampler.sample(Denoiser(config), noise(), noise))
    right, theirs = (their_repaint(setting, known, corrected=c) for c in (True, False))
    figure("RePaint with diffusers' jumps corrected", (result - right).abs().max().item(), 1e-4)
    assert (result - theirs).abs().max() > 1e-2


def test_a_jump_of_diffusers_from_the_data_adds_the_noise_of_a_later_timestep():
    scheduler = RePaintScheduler()
    scheduler.set_timesteps(50, 10, 2)
    noise = scheduler.undo_step(torch.zeros(256, 256), 0, torch.Generator().manual_seed(0))
    assert noise.var() > 10 * (1 - scheduler.alphas_cumprod[0])
    assert torch.isclose(noise.var(), 1 - scheduler.alphas_cumprod[19], rtol=0.03)
