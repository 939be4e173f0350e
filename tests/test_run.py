"""Which steps run, and what they start from."""

import itertools

import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.pndm_grid import list_timesteps
from comfyui_unconditional.schedulers.prediction import from_x0, to_x0_eps
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import Sampler, drain
from comfyui_unconditional.schedulers.span import Span, Stretch
from comfyui_unconditional.schedulers.timesteps import (
    END,
    Spacing,
    begins_with_noise,
    make_timesteps,
    parse_timesteps,
)
from denoisers import SHAPE, Denoiser
from ours import SEEDS
from torch import Tensor

SPACINGS = ("leading", "linspace", "trailing")


def denoised(
    config: SchedulerConfig, steps: int, denoise: float, spacing: Spacing | None = None
) -> Span:
    stretch = Stretch.of_denoise(steps, denoise, config.num_train_timesteps)
    return stretch.of(make_timesteps(config, stretch.steps, stretch.whole, spacing))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    ("steps", "denoise", "whole"),
    [(20, 1.0, 20), (20, 0.99995, 20), (20, 0.5, 40), (30, 0.3, 100), (29, 0.29, 100)],
)
def test_denoise_means_the_last_steps_of_a_longer_list(steps, denoise, whole, spacing):
    config = SchedulerConfig(timestep_spacing=spacing)
    expected = Span(tuple(make_timesteps(config, whole)[-steps:]), END, whole - steps)
    assert denoised(config, steps, denoise) == expected


@pytest.mark.parametrize("spacing", [*SPACINGS, "power"])
@pytest.mark.parametrize("T", [7, 40, 999, 1000, 4000])
def test_denoise_is_the_time_at_which_a_run_begins_whatever_the_steps(T, spacing):
    # A model that predicts the noise starts later if the last timesteps have no signal.
    config = SchedulerConfig(num_train_timesteps=T, prediction_type="v_prediction")
    for percent in range(1, 100):
        for steps in (1, 2, 3, 7, 20, 49, 300, 1000):
            denoise = percent / 100
            times = denoised(config, steps, denoise, spacing).timesteps
            below = max(denoise * T, 1)
            assert len(times) == min(steps, int(below + 1e-6))
            assert all(t > t_prev for t, t_prev in itertools.pairwise(times))
            assert times[-1] >= 0
            assert abs(times[0] - below) <= below / len(times) + 1


def test_300_steps_at_a_denoise_of_a_half_begin_half_way():
    assert denoised(SchedulerConfig(), 300, 0.5).timesteps[:3] == (498, 496, 495)
    times = list_timesteps(SchedulerConfig(), 300, "paper", 600.0)
    assert times[:3] == [498, 496, 495]


@pytest.mark.parametrize("spacing", [*SPACINGS, "power"])
def test_more_steps_than_timesteps_below_the_start_are_all_of_them(spacing):
    config = SchedulerConfig()
    every = denoised(config, 1000, 0.5, spacing)
    assert every == denoised(config, 500, 0.5, spacing)
    assert every.timesteps == tuple(range(499, -1, -1))


@pytest.mark.parametrize("spacing", [*SPACINGS, "power"])
def test_a_whole_list_starts_with_noise_and_the_end_of_one_with_an_image(spacing):
    for T in (40, 999, 1000):
        config = SchedulerConfig(num_train_timesteps=T)
        for steps in range(2, T + 1):
            assert begins_with_noise(make_timesteps(config, steps, spacing=spacing), T)
        for steps in range(1, T // 2):
            assert not begins_with_noise(denoised(config, steps, 0.5, spacing).timesteps, T)


def test_denoise_0_runs_nothing():
    assert Stretch.of_denoise(20, 0, 1000).is_empty


@pytest.mark.parametrize("denoise", [-0.1, 1.1, float("nan")])
def test_denoise_beyond_0_to_1_is_an_error(denoise):
    with pytest.raises(ScheduleError, match="denoise must be from 0 to 1"):
        Stretch.of_denoise(20, denoise, 1000)


def test_a_stretch_ends_at_the_next_timestep_or_at_the_data():
    times = [900, 600, 300, 0]
    assert Stretch(4, 1, 3, leftover=True).of(times) == Span((600, 300), 0, 1)
    assert Stretch(4, 1, 3).of(times) == Span((600, 300), END, 1)
    assert Stretch(4, 2, leftover=True).of(times) == Span((300, 0), END, 2)
    assert Stretch(4, 0, 99, leftover=True).of(times) == Span((900, 600, 300, 0), END, 0)
    for start, stop in ((4, 9), (2, 2), (3, 1)):
        assert Stretch(4, start, stop).is_empty


def drained(sampler: Sampler, config: SchedulerConfig, x: Tensor | None = None) -> Tensor:
    noise = SeededNoise(SEEDS, SHAPE)
    first = noise()
    noise.skip(sampler.span.skipped)
    return drain(sampler.sample(Denoiser(config), first if x is None else x, noise))


@pytest.mark.parametrize("cut", [1, 7, 20, 49])
@pytest.mark.parametrize(
    "eta", [0.0, 0.5, 1.0, None], ids=lambda eta: "DDPM" if eta is None else eta
)
def test_two_parts_of_ddim_and_ddpm_are_bit_for_bit_the_whole(eta, cut):
    for options in ({}, {"timestep_spacing": "trailing", "beta_schedule": "squaredcos_cap_v2"}):
        config = SchedulerConfig(**options)
        times = make_timesteps(config, 50)

        def make(
            stretch: Stretch, config: SchedulerConfig = config, times: list[int] = times
        ) -> Sampler:
            span = stretch.of(times)
            return DDPM(config, span) if eta is None else DDIM(config, span, eta=eta)

        whole = drained(make(Stretch(50)), config)
        first = drained(make(Stretch(50, 0, cut, leftover=True)), config)
        second = drained(make(Stretch(50, cut)), config, first)
        assert torch.equal(second, whole)


@pytest.mark.parametrize("convention", ["diffusers", "paper"])
@pytest.mark.parametrize("method", ["F-PNDM", "S-PNDM", "PLMS"])
def test_a_part_of_pndm_warms_up_again_and_goes_on_to_the_same_image(method, convention):
    config = SchedulerConfig()
    times = list_timesteps(config, 100, convention)

    def make(stretch: Stretch) -> Sampler:
        return PNDM(config, stretch.of(times), method=method, convention=convention)

    whole, part = make(Stretch(100)), make(Stretch(100, 40))
    extra = 9 if method == "F-PNDM" else 1
    # The last step of diffusers' leading list changes nothing, and is left out.
    assert part.evaluations == 60 + extra - (convention == "diffusers")
    first = drained(make(Stretch(100, 0, 40, leftover=True)), config)
    assert (drained(part, config, first) - drained(whole, config)).abs().max() < 0.01


def test_a_run_knows_how_often_it_calls_the_model_and_at_which_noise():
    config = SchedulerConfig()
    span = Stretch(20, 5, 15, leftover=True).of(make_timesteps(config, 20))
    for sampler in (DDIM(config, span), DDPM(config, span), PNDM(config, span, method="F-PNDM")):
        denoise = Denoiser(config)
        drain(sampler.sample(denoise, torch.zeros(1, *SHAPE), SeededNoise([0], SHAPE)))
        assert len(denoise.times) == sampler.evaluations
        for t in (*denoise.times, sampler.span.end):
            assert 0 < sampler.alpha_cumprod(t) < 1


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_the_output_for_an_image_is_recovered(prediction):
    output, x = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    for level in (1e-7, 0.3, 1 - 1e-7):
        a = torch.tensor(level, dtype=torch.float64)
        x0, _ = to_x0_eps(output, x, a, prediction)
        found = from_x0(x0, x, a, prediction)
        torch.testing.assert_close(found, output, rtol=1e-5, atol=1e-7)


def test_skipped_draws_leave_the_next_ones_as_they_were():
    whole, part = SeededNoise(SEEDS, SHAPE), SeededNoise(SEEDS, SHAPE)
    draws = [whole() for _ in range(4)]
    part.skip(3)
    assert torch.equal(part(), draws[3])


def test_a_sampler_that_draws_nothing_skips_nothing():
    config, drawn = SchedulerConfig(), []
    span = Stretch(50, 40).of(make_timesteps(config, 50))
    last = Stretch(50, 49).of(make_timesteps(config, 50))
    for sampler, draws in (
        (DDIM(config, span), 0),
        (PNDM(config, span, method="PLMS"), 0),
        (DDPM(config, last), 0),
        (DDIM(config, span, eta=0.5), 41 + 10),
        (DDPM(config, span), 41 + 9),
    ):
        drawn.clear()
        noise = SeededNoise(SEEDS, SHAPE, lambda: drawn.append(1))
        noise.skip(1 + sampler.span.skipped)
        drain(sampler.sample(Denoiser(config), torch.zeros(len(SEEDS), *SHAPE), noise))
        assert len(drawn) == draws


def test_a_cancelled_run_stops_while_it_skips_draws():
    drawn = []

    def cancel() -> None:
        drawn.append(1)
        if len(drawn) == 3:
            raise InterruptedError

    noise = SeededNoise(SEEDS, SHAPE, cancel)
    noise.skip(999)
    with pytest.raises(InterruptedError):
        noise()
    assert len(drawn) == 3


def test_typed_timesteps_are_read_with_commas_and_spaces():
    assert parse_timesteps("999, 500 20,0", 1000) == [999, 500, 20, 0]
    for text in ("1000", "-1", "x", "1.5", "3, 3", "1 2", " ", "٣"):
        with pytest.raises(ScheduleError, match="timestep"):
            parse_timesteps(text, 1000)


def test_changing_the_formula_ends_betas_given_one_by_one():
    config = SchedulerConfig(trained_betas=(0.1,) * 1000)
    assert config.changed(clip_sample=False).trained_betas == config.trained_betas
    assert config.changed(beta_end=0.5).trained_betas is None
    with pytest.raises(
        ScheduleError, match="'steps_offset' must be a whole number from 0 to 1000000, not -3"
    ):
        config.changed(steps_offset=-3)


def test_the_timestep_scale_is_written_only_where_there_is_one():
    assert "timestep_scale" not in SchedulerConfig().to_dict()
    scaled = SchedulerConfig(timestep_scale=0.25)
    assert SchedulerConfig.from_dict(scaled.to_dict()) == scaled
