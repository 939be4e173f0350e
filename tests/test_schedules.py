"""Noise schedules and timesteps: equal to diffusers' tables, and sound for any number of steps."""

from itertools import pairwise

import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.timesteps import END, make_timesteps, step_pairs
from diffusers import DDPMScheduler, PNDMScheduler

SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")
SPACINGS = ("leading", "linspace", "trailing")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("T", [1000, 4000, 100])
def test_the_tables_are_those_of_diffusers_bit_for_bit(schedule, rescale, T):
    options = {
        "beta_schedule": schedule,
        "rescale_betas_zero_snr": rescale,
        "num_train_timesteps": T,
    }
    tables = NoiseSchedule.from_config(SchedulerConfig.from_dict(options))
    theirs = DDPMScheduler(**options)
    assert torch.equal(tables.betas, theirs.betas)
    assert torch.equal(tables.alphas_cumprod, theirs.alphas_cumprod)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_alphas_cumprod_decreases_from_step_to_step(schedule):
    config = SchedulerConfig(beta_schedule=schedule)
    a = NoiseSchedule.from_config(config, dtype=torch.float64).alphas_cumprod
    assert a.dtype == torch.float64
    assert (a.diff() < 0).all()
    assert 0 < a[-1] < a[0] < 1


@pytest.mark.parametrize("spacing", [*SPACINGS, "power"])
def test_any_number_of_steps_gives_as_many_timesteps_in_descending_order(spacing):
    for T in (1, 7, 100, 1000):
        config = SchedulerConfig(num_train_timesteps=T)
        for steps in range(1, T + 1):
            times = make_timesteps(config, steps, spacing=spacing)
            assert len(times) == steps
            assert all(a > b for a, b in pairwise(times))
            assert times[-1] >= 0
            assert times[0] < T
            assert step_pairs(times)[-1] == (times[-1], END)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_timesteps_are_those_of_diffusers(spacing):
    for steps in [1, 2, 3, 4, 7, 10, 33, 50, 91, 150, 333, 600, 999, 1000]:
        config = SchedulerConfig(timestep_spacing=spacing)
        theirs = DDPMScheduler(timestep_spacing=spacing)
        theirs.set_timesteps(steps)
        assert make_timesteps(config, steps) == theirs.timesteps.tolist()


def test_the_offset_shifts_a_leading_list_only():
    for spacing in SPACINGS:
        theirs = PNDMScheduler(timestep_spacing=spacing, steps_offset=1, skip_prk_steps=True)
        theirs.set_timesteps(10)
        config = SchedulerConfig(timestep_spacing=spacing, steps_offset=1)
        expected = theirs.timesteps.tolist()
        assert make_timesteps(config, 10) == [expected[0], *expected[2:]]


def test_an_offset_past_the_last_timestep_is_rejected():
    config = SchedulerConfig(steps_offset=1)
    with pytest.raises(ScheduleError, match="steps_offset = 1 leads to timestep 1000"):
        make_timesteps(config, 1000)
    assert make_timesteps(config, 999)[0] == 999


@pytest.mark.parametrize("steps", [0, -3, 1001])
def test_too_few_or_too_many_steps_are_rejected(steps):
    with pytest.raises(ScheduleError, match="from 1 to 1000"):
        make_timesteps(SchedulerConfig(), steps)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("beta_schedule", "quadratic"),
        ("prediction_type", "score"),
        ("variance_type", "fixed"),
        ("timestep_spacing", 3),
        ("num_train_timesteps", 0),
        ("num_train_timesteps", "many"),
        ("num_train_timesteps", True),
        ("steps_offset", -1),
        ("beta_end", float("nan")),
        ("beta_start", 2),
        ("clip_sample", "yes"),
        ("trained_betas", [0.1, 0.2]),
        ("trained_betas", [float("nan")] * 1000),
        ("trained_betas", [0.1] * 999 + [1.5]),
        ("sample_max_value", 0.5),
    ],
)
def test_an_impossible_scheduler_option_is_named(field, value):
    with pytest.raises(ScheduleError, match=field):
        SchedulerConfig.from_dict({field: value})


def test_a_configuration_survives_being_written_and_read():
    config = SchedulerConfig(beta_schedule="squaredcos_cap_v2", set_alpha_to_one=False)
    assert SchedulerConfig.from_dict(config.to_dict()) == config
    assert "trained_betas" not in config.to_dict()
