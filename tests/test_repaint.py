"""RePaint without a host: its jumps, and diffusers' pipeline with the same noise."""

from dataclasses import replace

import ours
import pytest
import torch
from bundled import network
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.repaint import PRESETS, Known, RePaint
from comfyui_unconditional.schedulers.sampler import Model, drain
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from denoisers import SHAPE, Denoiser
from diffusers import RePaintPipeline, RePaintScheduler, UNet2DModel
from torch import Tensor

SEEDS = (5, 8)
SETTINGS = [(1, 1, 1), (7, 10, 10), (10, 10, 5), (11, 10, 2), (20, 3, 4), (20, 1, 3)]


def half_known(shape: tuple[int, int, int] = SHAPE) -> Known:
    """Images whose right half is to be drawn."""
    image = torch.rand(len(SEEDS), *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.zeros(1, 1, *shape[1:])
    mask[..., shape[2] // 2 :] = 1
    return Known(image, mask)


def run(sampler: RePaint, model: Model, known: Known, seeds: tuple[int, ...] = SEEDS) -> Tensor:
    noise = SeededNoise(seeds, tuple(known.image.shape[1:]))
    with torch.inference_mode():
        return drain(replace(sampler, known=known).sample(model, noise(), noise))


def repaint(config: SchedulerConfig, steps: int, length: int, times: int, **more) -> RePaint:
    return RePaint.over(config, Stretch(steps), jump_length=length, resamplings=times, **more)


def their_calls(*setting: int) -> list[int]:
    """The timesteps at which diffusers' pipeline calls the network."""
    scheduler = RePaintScheduler()
    scheduler.set_timesteps(*setting)
    times = scheduler.timesteps.tolist()
    return [t for t, before in zip(times, [1000, *times], strict=False) if t < before]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_network_is_called_at_the_timesteps_of_diffusers(setting):
    calls: list[float] = []
    sampler = repaint(SchedulerConfig(), *setting)
    run(sampler, ours.counting(Denoiser(sampler.config), calls), half_known())
    assert calls == their_calls(*setting)


def test_the_evaluations_of_a_preset_are_those_of_diffusers_and_the_papers_2410():
    counts = [repaint(SchedulerConfig(), *preset).evaluations for preset in PRESETS.values()]
    assert counts == [len(their_calls(*preset)) for preset in PRESETS.values()]
    assert counts[-1] == 2410


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing", "power"])
def test_jumps_repeat_the_steps_of_any_list_and_keep_the_known_part(spacing):
    config, calls = SchedulerConfig(), []
    sampler = RePaint.over(config, Stretch(7), spacing, jump_length=3, resamplings=2)
    known = half_known()
    result = run(sampler, ours.counting(Denoiser(config), calls), known)
    a, b, c, d, e, f, g = make_timesteps(config, 7, spacing=spacing)
    assert calls == [a, b, c, d, b, c, d, e, f, g, e, f, g]
    assert torch.equal(result[..., :4], known.image[..., :4])


@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_without_jumps_and_with_everything_to_be_made_it_is_ddim(eta):
    config = SchedulerConfig(set_alpha_to_one=True)
    known = Known(torch.zeros(len(SEEDS), *SHAPE), torch.ones(1))
    result = run(repaint(config, 10, 10, 5, eta=eta), Denoiser(config), known)
    expected = ours.run_ddim(config, 10, Denoiser(config), SEEDS, SHAPE, eta)
    assert (result - expected).abs().max() < 1e-5


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_pipeline_of_diffusers_gives_our_images(eta, figure):
    # All timesteps of a short schedule: see test_where_we_differ.py.
    options = {"num_train_timesteps": 40, "beta_end": 0.3}
    unet = UNet2DModel.from_pretrained(ours.DIGITS / "unet")
    pipeline = RePaintPipeline(unet, RePaintScheduler(**options))
    pipeline.set_progress_bar_config(disable=True)
    known = half_known((1, 16, 16))
    for seed, image in zip(SEEDS, known.image.split(1), strict=True):
        (theirs,) = pipeline(
            image=image,
            mask_image=1 - known.mask,
            num_inference_steps=40,
            jump_length=5,
            jump_n_sample=3,
            eta=eta,
            generator=torch.Generator().manual_seed(seed),
            output_type="np",
            return_dict=False,
        )
        sampler = repaint(SchedulerConfig(**options), 40, 5, 3, eta=eta)
        mine = run(sampler, network(), Known(image, known.mask), (seed,))
        apart = mine.clamp(-1, 1) / 2 + 0.5 - torch.from_numpy(theirs).movedim(-1, 1)
        figure("RePaintPipeline on digits-16", apart.abs().max().item(), 1e-4)


def test_a_grey_mask_gives_the_mean_of_both_parts():
    known = Known(torch.ones(1, 1, 2, 2), torch.tensor([0.0, 0.25]))
    found = known.around(torch.full((1, 1, 2, 2), -1.0), torch.zeros(1, 1, 2, 2), torch.ones(()))
    assert found[0, 0, 0].tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    "wrong", [{"jump_length": 0}, {"resamplings": 0}, {"eta": -0.1}, {"eta": 1.5}], ids=str
)
def test_impossible_settings_are_rejected_with_their_value(wrong):
    (value,) = wrong.values()
    with pytest.raises(ScheduleError, match=f"not {value}"):
        RePaint.over(SchedulerConfig(), Stretch(10), **wrong)
