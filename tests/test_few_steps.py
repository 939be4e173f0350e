"""Uneven timesteps, and the method with weights for them."""

import logging
import random
from functools import partial

import ours
import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule, noise_clock
from comfyui_unconditional.schedulers.pndm import MULTISTEP_WEIGHTS, PNDM, adams_bashforth
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Span, Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps
from denoisers import SHAPE, Denoiser
from ours import SEEDS

SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_after_even_steps_the_weights_are_those_of_pndm(count):
    draw = random.Random(count)
    for _ in range(100):
        newest, step = draw.uniform(-5, 5), draw.uniform(0.01, 10)
        times = [newest + i * step for i in range(count)]
        weights = adams_bashforth(times, newest - step)
        assert weights == pytest.approx(MULTISTEP_WEIGHTS[count], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_after_uneven_steps_the_weights_average_polynomials_exactly(count):
    draw = random.Random(count)
    for _ in range(100):
        times = sorted(draw.uniform(1, 10) for _ in range(count))
        end = draw.uniform(0, 1)
        for power in range(count):
            found = sum(
                weight * time**power
                for weight, time in zip(adams_bashforth(times, end), times, strict=True)
            )
            exact = (times[0] ** (power + 1) - end ** (power + 1)) / (power + 1) / (times[0] - end)
            assert found == pytest.approx(exact, rel=1e-6, abs=1e-6)


def test_an_evaluation_at_the_time_of_a_newer_one_has_no_weight():
    once, twice = adams_bashforth([3, 5], 1), adams_bashforth([3, 3, 5, 5], 1)
    assert twice == (once[0], 0, once[1], 0)
    assert adams_bashforth([3, 5], 3) == (1, 0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_steps_of_power_become_shorter_by_the_noise_on_every_schedule(schedule, prediction):
    config = SchedulerConfig(beta_schedule=schedule, prediction_type=prediction)
    table = NoiseSchedule.from_config(config).alphas_cumprod
    for steps in (4, 5, 8, 10, 20):
        times = make_timesteps(config, steps, spacing="power")
        clocks = torch.tensor([noise_clock(a) for a in [*table[times].tolist(), 1.0]])
        lengths = -clocks.diff()
        resolution = torch.tensor([noise_clock(a) for a in table.tolist()]).diff().max()
        assert (lengths.diff() <= 2 * resolution).all()
        assert lengths[0] > 3 * lengths[-1]


def test_power_starts_where_a_model_that_predicts_the_noise_sees_a_signal():
    def first(**options):
        return make_timesteps(SchedulerConfig(**options), 10, spacing="power")[0]

    assert first() == 999
    assert first(beta_schedule="squaredcos_cap_v2") == 994
    assert first(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction") == 999
    # If there are no others, those without a signal too.
    cosine = SchedulerConfig(beta_schedule="squaredcos_cap_v2")
    assert make_timesteps(cosine, 1000, spacing="power") == list(range(999, -1, -1))


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "power"])
@pytest.mark.parametrize("convention", ["diffusers", "paper"])
def test_the_uneven_method_ends_at_the_image_that_a_perfect_network_knows(
    prediction, spacing, convention
):
    config = SchedulerConfig(prediction_type=prediction, set_alpha_to_one=True)
    x0 = torch.rand(len(SEEDS), *SHAPE, dtype=torch.float64) * 2 - 1
    sampler = PNDM.over(
        config,
        Stretch(8),
        spacing,
        method="iPNDM_v",
        convention=convention,
        dtype=torch.float64,
    )
    noise = torch.randn(x0.shape, dtype=torch.float64)
    model = partial(sampler.output_of, x0)
    found = drain(sampler.sample(model, sampler.add_noise(x0, noise), lambda: noise))
    # The paper's last step ends at the noise of the first timestep.
    end = sampler.alpha_cumprod(sampler.span.end)
    expected = end.sqrt() * x0 + (1 - end).sqrt() * noise
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_long_step_after_short_ones_does_not_multiply_errors(schedule):
    config = SchedulerConfig(beta_schedule=schedule, prediction_type="v_prediction")
    x = torch.randn(2, *SHAPE)
    for times in ((999, 998, 997, 996, 500, 0), (900, 899, 300, 299, 298, 10), (700, 699, 1)):
        sampler = PNDM(config, Span(times), "iPNDM_v")
        image = drain(sampler.sample(Denoiser(config), x, lambda: x))
        coarse = drain(DDIM(config, Span(times)).sample(Denoiser(config), x, lambda: x))
        assert (image - coarse).abs().max() < 1


def test_equal_noise_at_two_timesteps_does_no_harm():
    betas = [1e-4, *[0.02, 0.0] * 20]
    config = SchedulerConfig(num_train_timesteps=41, trained_betas=tuple(betas))
    sampler = PNDM(config, Span(tuple(range(40, -1, -1))), "iPNDM_v")
    x = torch.randn(1, *SHAPE)
    assert torch.isfinite(drain(sampler.sample(Denoiser(config), x, lambda: x))).all()


@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_ten_steps_come_closer_to_the_converged_image_than_others_do(schedule, prediction):
    config = SchedulerConfig(beta_schedule=schedule, prediction_type=prediction, clip_sample=False)
    model, power = Denoiser(config), {"spacing": "power"}

    def error(run, steps, **more):
        image = run(config, steps, model, SEEDS, SHAPE, **power, **more)
        return (image - converged).square().mean().sqrt().item()

    converged = ours.run_pndm(
        config, 500, model, SEEDS, SHAPE, method="iPNDM_v", exact=True, **power
    )
    best = error(ours.run_pndm, 10, method="iPNDM_v")
    for method, steps in (("S-PNDM", 9), ("PLMS", 9)):
        assert best < error(ours.run_pndm, steps, method=method)
    assert best < error(ours.run_ddim, 20)


@pytest.mark.parametrize("method", ["F-PNDM", "S-PNDM", "PLMS", "iPNDM_v"])
def test_the_log_recommends_the_method_for_few_steps(method, caplog):
    caplog.set_level(logging.INFO)
    for steps in (10, 19, 20, 50):
        caplog.clear()
        sampler = PNDM.over(SchedulerConfig(), Stretch(steps), method=method)
        sampler.begin(torch.zeros(1, *SHAPE))
        recommended = "iPNDM_v with the spacing power" in caplog.text
        assert recommended == (steps < 20 and method != "iPNDM_v")
