"""The unclipped final x of every sampler against diffusers' scheduler, driven in a loop."""

import dataclasses
from collections.abc import Callable

import oracle
import ours
import pytest
import torch
from comfyui_unconditional.schedulers import pndm
from comfyui_unconditional.schedulers.config import SchedulerConfig
from denoisers import SHAPE, Denoiser
from ours import SEEDS, difference

BOUND = 1e-4
PREDICTIONS = ("epsilon", "v_prediction", "sample")
SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
Figure = Callable[[str, float, float], None]


def configs(steps: int, **fixed: object) -> list[SchedulerConfig]:
    """All schedules and predictions; trailing only where diffusers handles it correctly."""
    spacings = ("leading", "trailing") if 1000 % steps == 0 and steps < 1000 else ("leading",)
    return [
        SchedulerConfig(
            beta_schedule=schedule, prediction_type=prediction, timestep_spacing=spacing, **fixed
        )
        for schedule in SCHEDULES
        for prediction in PREDICTIONS
        for spacing in spacings
    ]


@pytest.mark.parametrize("steps", [7, 50, pytest.param(1000, marks=pytest.mark.slow)])
def test_ddpm_equals_diffusers(steps, figure):
    for config in configs(steps):
        reference = oracle.run_ddpm(config, steps, Denoiser(config), SEEDS, SHAPE)
        result = ours.run_ddpm(config, steps, Denoiser(config), SEEDS, SHAPE)
        figure("DDPM", difference(result, reference), BOUND)


@pytest.mark.parametrize("steps", [10, 33, 50])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_equals_diffusers(steps, eta, figure):
    for config in configs(steps):
        reference = oracle.run_ddim(config, steps, Denoiser(config), SEEDS, SHAPE, eta)
        result = ours.run_ddim(config, steps, Denoiser(config), SEEDS, SHAPE, eta)
        figure("DDIM", difference(result, reference), BOUND)


@pytest.mark.parametrize(
    ("method", "steps"),
    [("F-PNDM", n) for n in (4, 10, 40, 50)] + [("PLMS", n) for n in (2, 10, 50)],
)
@pytest.mark.parametrize("set_alpha_to_one", [None, True])
def test_pndm_equals_diffusers(method, steps, set_alpha_to_one, figure):
    # Two steps are so long that with the usual betas most values end beyond (-1, 1).
    mild = {"beta_end": 0.002} if steps == 2 else {}
    for config in configs(steps, set_alpha_to_one=set_alpha_to_one, **mild):
        if config.prediction_type == "sample":
            continue  # diffusers rejects it; see below
        reference = oracle.run_pndm(
            config, steps, Denoiser(config), SEEDS, SHAPE, skip_prk_steps=method == "PLMS"
        )
        result = ours.run_pndm(config, steps, Denoiser(config), SEEDS, SHAPE, method=method)
        # From alphas_cumprod = 2e-9 a combination of noises gives values in the thousands; there
        # the bound is on the largest of them, and v_prediction covers the same times.
        explodes = config.beta_schedule == "squaredcos_cap_v2" and (
            (config.timestep_spacing, config.prediction_type) == ("trailing", "epsilon")
        )
        figure(method, difference(result, reference, inside=not explodes), BOUND)


@pytest.mark.parametrize("method", ["F-PNDM", "S-PNDM", "PLMS", "FON"])
@pytest.mark.parametrize("convention", ["diffusers", "paper"])
def test_a_sample_prediction_gives_pndm_the_image_of_the_same_denoiser_as_epsilon(
    method, convention, figure
):
    for schedule in SCHEDULES:
        as_sample = SchedulerConfig(beta_schedule=schedule, prediction_type="sample")
        as_epsilon = dataclasses.replace(as_sample, prediction_type="epsilon")
        results = [
            ours.run_pndm(
                config,
                20,
                Denoiser(config),
                SEEDS,
                SHAPE,
                method=method,
                convention=convention,
            )
            for config in (as_sample, as_epsilon)
        ]
        if convention == "diffusers":
            figure("PNDM with sample as epsilon", difference(*results), BOUND)
        else:  # the authors read alphas_cumprod one index on, so there the two differ a little
            assert difference(*results) < 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"clip_sample": False},
        {"clip_sample_range": 0.5},
        {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
        {"steps_offset": 1},
        {"beta_start": 0.001, "beta_end": 0.012},
        {"trained_betas": tuple(0.0001 + i * 2e-5 for i in range(1000))},
        {"num_train_timesteps": 400},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        {"set_alpha_to_one": False},
    ],
    ids=str,
)
def test_every_scheduler_option_acts_as_in_diffusers(options, figure):
    config = SchedulerConfig(**options)
    plain = dataclasses.replace(config, rescale_betas_zero_snr=False)
    for steps in (10, 40):
        reference = oracle.run_ddpm(config, steps, Denoiser(config), SEEDS, SHAPE)
        result = ours.run_ddpm(config, steps, Denoiser(config), SEEDS, SHAPE)
        # With an offset, the last step of diffusers only adds noise of variance 1e-20.
        figure("DDPM, options", difference(result, reference), BOUND)
        for eta in (0.0, 0.5):
            reference = oracle.run_ddim(config, steps, Denoiser(config), SEEDS, SHAPE, eta)
            result = ours.run_ddim(config, steps, Denoiser(config), SEEDS, SHAPE, eta)
            figure("DDIM, options", difference(result, reference), BOUND)
        for method in ("F-PNDM", "PLMS"):
            reference = oracle.run_pndm(
                plain, steps, Denoiser(plain), SEEDS, SHAPE, skip_prk_steps=method == "PLMS"
            )
            result = ours.run_pndm(config, steps, Denoiser(config), SEEDS, SHAPE, method=method)
            figure("PNDM, options", difference(result, reference), BOUND)


@pytest.mark.parametrize("schedule", ["sigmoid", "laplace"])
def test_the_schedules_that_only_ddpm_has_in_diffusers(schedule, figure):
    config = SchedulerConfig(beta_schedule=schedule)
    reference = oracle.run_ddpm(config, 50, Denoiser(config), SEEDS, SHAPE)
    result = ours.run_ddpm(config, 50, Denoiser(config), SEEDS, SHAPE)
    figure("DDPM", difference(result, reference), BOUND)


@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_small_log", "fixed_large"])
def test_a_fixed_variance_equals_diffusers(variance_type, figure):
    config = SchedulerConfig(variance_type=variance_type)
    for steps in (7, 50):
        reference = oracle.run_ddpm(config, steps, Denoiser(config), SEEDS, SHAPE)
        result = ours.run_ddpm(config, steps, Denoiser(config), SEEDS, SHAPE)
        figure("DDPM, variance types", difference(result, reference), BOUND)


def test_fixed_large_log_is_fixed_large_and_not_nan_as_in_diffusers(figure):
    config = SchedulerConfig(variance_type="fixed_large_log")
    large = dataclasses.replace(config, variance_type="fixed_large")
    assert oracle.run_ddpm(config, 50, Denoiser(config), SEEDS, SHAPE).isnan().any()
    reference = oracle.run_ddpm(large, 50, Denoiser(config), SEEDS, SHAPE)
    result = ours.run_ddpm(config, 50, Denoiser(config), SEEDS, SHAPE)
    figure("DDPM, variance types", difference(result, reference), BOUND)


def test_learned_is_the_logarithm_of_what_diffusers_takes(figure):
    config = SchedulerConfig(variance_type="learned")
    denoise = Denoiser(config, variance="log")

    def with_variance(x: torch.Tensor, t: object) -> torch.Tensor:
        prediction, log_variance = denoise(x, t).chunk(2, dim=1)
        return torch.cat((prediction, log_variance.exp()), dim=1)

    reference = oracle.run_ddpm(config, 50, with_variance, SEEDS, SHAPE)
    result = ours.run_ddpm(config, 50, denoise, SEEDS, SHAPE)
    figure("DDPM, variance types", difference(result, reference), BOUND)


def test_learned_range_equals_diffusers(figure):
    for prediction in PREDICTIONS:
        config = SchedulerConfig(variance_type="learned_range", prediction_type=prediction)
        denoise = Denoiser(config, variance="range")
        for steps in (7, 50):
            reference = oracle.run_ddpm(config, steps, denoise, SEEDS, SHAPE)
            result = ours.run_ddpm(config, steps, denoise, SEEDS, SHAPE)
            figure("DDPM, variance types", difference(result, reference), BOUND)


def test_ddim_and_pndm_use_the_first_half_of_a_learned_variance_model():
    config = SchedulerConfig()
    both, first = Denoiser(config, variance="range"), Denoiser(config)
    for run in (ours.run_ddim, ours.run_pndm):
        torch.testing.assert_close(
            run(config, 10, both, SEEDS, SHAPE), run(config, 10, first, SEEDS, SHAPE)
        )


def test_the_parity_test_fails_when_a_single_multistep_weight_changes(monkeypatch):
    def ignore_table(name: str, difference: float, bound: float) -> None:
        assert difference <= bound

    test_pndm_equals_diffusers("F-PNDM", 10, None, ignore_table)
    weights = pndm.MULTISTEP_WEIGHTS[4]
    monkeypatch.setitem(pndm.MULTISTEP_WEIGHTS, 4, (*weights[:3], -8 / 24))
    with pytest.raises(AssertionError):
        test_pndm_equals_diffusers("F-PNDM", 10, None, ignore_table)
