"""Properties of every sampler: evaluations, seeds, precision, no state between runs."""

import logging

import ours
import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.pndm import PNDM, Method
from comfyui_unconditional.schedulers.prediction import add_noise, to_x0_eps
from comfyui_unconditional.schedulers.randomness import SeededNoise, image_seeds
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Span, Stretch
from comfyui_unconditional.schedulers.timesteps import make_timesteps, warn_of_late_start
from comfyui_unconditional.schedulers.transfer import transfer
from denoisers import SHAPE, Denoiser, Exact
from ours import SEEDS, counting

METHODS: tuple[Method, ...] = ("F-PNDM", "S-PNDM", "PLMS", "FON", "iPNDM_v")


@pytest.mark.parametrize(
    ("options", "method", "extra"),
    [
        ({}, "F-PNDM", 8),
        ({}, "PLMS", 0),
        ({}, "S-PNDM", 0),
        ({}, "FON", 8),
        ({"timestep_spacing": "trailing"}, "F-PNDM", 9),
        ({"timestep_spacing": "trailing"}, "PLMS", 1),
        ({"timestep_spacing": "trailing"}, "S-PNDM", 1),
        ({"timestep_spacing": "trailing"}, "FON", 9),
        ({"set_alpha_to_one": True}, "F-PNDM", 9),
        ({"set_alpha_to_one": True}, "PLMS", 1),
        ({"steps_offset": 1}, "S-PNDM", 1),
        ({}, "iPNDM_v", -1),
        ({"timestep_spacing": "trailing"}, "iPNDM_v", 0),
    ],
    ids=str,
)
def test_pndm_runs_as_many_evaluations_as_it_says(options, method, extra):
    config = SchedulerConfig(**options)
    for steps in (4, 5, 10, 33, 50):
        calls: list[float] = []
        model = counting(Denoiser(config), calls)
        ours.run_pndm(config, steps, model, SEEDS[:1], SHAPE, method=method)
        sampler = PNDM.over(config, Stretch(steps), method=method)
        assert len(calls) == steps + extra == sampler.evaluations


def test_ddpm_and_ddim_run_one_evaluation_for_each_step():
    config = SchedulerConfig()
    for steps in (1, 10, 33):
        for run in (ours.run_ddpm, ours.run_ddim):
            calls: list[float] = []
            run(config, steps, counting(Denoiser(config), calls), SEEDS[:1], SHAPE)
            assert calls == make_timesteps(config, steps)


def test_fifty_steps_visit_the_timesteps_of_the_paper_pipeline():
    config = SchedulerConfig()
    calls: list[float] = []
    ours.run_pndm(config, 50, counting(Denoiser(config), calls), SEEDS[:1], SHAPE)
    warm_up = [980, 970, 970, 960, 960, 950, 950, 940, 940, 930, 930, 920]
    assert calls == [*warm_up, *range(920, 0, -20)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("convention", ["diffusers", "paper"])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_any_number_of_steps_works_with_every_method(method, convention, spacing):
    config = SchedulerConfig(num_train_timesteps=40, timestep_spacing=spacing, beta_end=0.002)
    evaluates_once = convention == "paper" or spacing == "trailing"
    for steps in range(1 if evaluates_once else 2, 41):
        calls: list[float] = []
        result = ours.run_pndm(
            config,
            steps,
            counting(Denoiser(config), calls),
            SEEDS[:1],
            SHAPE,
            method=method,
            convention=convention,
        )
        assert torch.isfinite(result).all()
        sampler = PNDM.over(config, Stretch(steps), method=method, convention=convention)
        assert len(calls) == sampler.evaluations


@pytest.mark.parametrize(
    ("convention", "options"),
    [
        ("paper", {}),
        ("diffusers", {}),
        ("diffusers", {"timestep_spacing": "linspace"}),
        ("diffusers", {"timestep_spacing": "trailing"}),
        ("diffusers", {"timestep_spacing": "trailing", "set_alpha_to_one": True}),
    ],
    ids=str,
)
def test_with_more_steps_the_classical_method_comes_to_the_end_of_the_pseudo_one(
    convention, options
):
    config = SchedulerConfig(**options)
    apart = []
    for steps in (20, 100, 500):
        one, other = (
            ours.run_pndm(
                config, steps, Denoiser(config), SEEDS, SHAPE, method=method, convention=convention
            )
            for method in ("FON", "F-PNDM")
        )
        apart.append((one - other).abs().max().item())
    assert apart[0] > 3 * apart[1] > 3 * apart[2]
    assert apart[2] < 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_pndm_rejects_a_run_that_would_return_its_noise(method, spacing):
    config = SchedulerConfig(timestep_spacing=spacing)
    with pytest.raises(ScheduleError, match="set timestep_spacing to 'trailing'"):
        PNDM(config, Span((0,)), method)
    with pytest.raises(ScheduleError, match="at least 2 steps"):
        ours.run_pndm(config, 1, Denoiser(config), SEEDS, SHAPE, method=method)
    trailing = SchedulerConfig(timestep_spacing="trailing")
    calls: list[float] = []
    ours.run_pndm(trailing, 1, counting(Denoiser(trailing), calls), SEEDS, SHAPE, method=method)
    assert calls


def test_a_step_that_is_not_run_would_have_changed_nothing():
    x, e, a = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4), torch.tensor(0.9999)
    assert torch.equal(transfer(x, e, a, a), x)


def test_the_transfer_with_the_true_noise_is_exact():
    a, b = torch.tensor(0.2, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64)
    x0, e = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    x = a.sqrt() * x0 + (1 - a).sqrt() * e
    torch.testing.assert_close(transfer(x, e, a, b), b.sqrt() * x0 + (1 - b).sqrt() * e)


@pytest.mark.parametrize("run", [ours.run_ddpm, ours.run_ddim, ours.run_pndm])
def test_an_image_is_the_same_alone_and_in_any_batch(run):
    config = SchedulerConfig()
    more = {"eta": 0.7} if run is ours.run_ddim else {}
    batch = run(config, 10, Denoiser(config), SEEDS, SHAPE, **more)
    for k, seed in enumerate(SEEDS):
        alone = run(config, 10, Denoiser(config), [seed], SHAPE, **more)
        torch.testing.assert_close(alone[0], batch[k], atol=1e-4, rtol=0)


def test_the_noise_of_an_image_is_bit_identical_alone_and_in_any_batch():
    batch, alone = SeededNoise(SEEDS, SHAPE), SeededNoise(SEEDS[1:2], SHAPE)
    for _ in range(3):
        assert torch.equal(batch()[1], alone()[0])
    generator = torch.Generator().manual_seed(SEEDS[1])
    assert torch.equal(SeededNoise(SEEDS, SHAPE)()[1], torch.randn(SHAPE, generator=generator))


def test_seeds_count_up_and_begin_again_after_the_last():
    assert image_seeds(2**64 - 2, range(4)) == [2**64 - 2, 2**64 - 1, 0, 1]
    assert image_seeds(7, [3, 0]) == [10, 7]


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan"), float("inf")])
def test_an_eta_outside_0_to_1_is_rejected(eta):
    config = SchedulerConfig()
    with pytest.raises(ScheduleError, match="eta must be from 0 to 1"):
        ours.run_ddim(config, 10, Denoiser(config), SEEDS, SHAPE, eta)


def test_a_learned_variance_is_rejected_on_a_model_without_one():
    config = SchedulerConfig()
    for kind in ("learned", "learned_range"):
        with pytest.raises(ScheduleError, match="6 output channels"):
            ours.run_ddpm(config, 10, Denoiser(config), SEEDS, SHAPE, variance_type=kind)


def test_the_variance_type_of_the_call_overrides_the_models():
    small, large = SchedulerConfig(), SchedulerConfig(variance_type="fixed_large")
    chosen = ours.run_ddpm(small, 10, Denoiser(small), SEEDS, SHAPE, variance_type="fixed_large")
    assert torch.equal(chosen, ours.run_ddpm(large, 10, Denoiser(large), SEEDS, SHAPE))


def test_a_second_run_gives_the_image_of_the_first():
    config = SchedulerConfig()
    first, second = (ours.run_pndm(config, 10, Denoiser(config), SEEDS, SHAPE) for _ in range(2))
    assert torch.equal(first, second)


def test_tables_and_tensors_may_be_float64():
    config = SchedulerConfig(clip_sample=False)
    x, noise = SeededNoise(SEEDS, SHAPE)().double(), SeededNoise(SEEDS, SHAPE)
    model, double = Denoiser(config), torch.float64
    assert NoiseSchedule.from_config(config, dtype=double).alphas_cumprod.dtype == double
    for kind in (DDPM, DDIM, PNDM):
        sampler = kind.over(config, Stretch(10), dtype=double)
        assert drain(sampler.sample(model, x, noise)).dtype == double


def test_each_evaluation_shows_the_image_that_the_model_predicts():
    config = SchedulerConfig(clip_sample=False)
    x, noise = SeededNoise(SEEDS, SHAPE)(), SeededNoise(SEEDS, SHAPE)
    model = Exact(config, make_timesteps(config, 10)[0], x)
    for sampler in (DDIM.over(config, Stretch(10)), PNDM.over(config, Stretch(10), method="PLMS")):
        shown: list[torch.Tensor] = []
        sampling = sampler.sample(model, x, noise)
        drain(sampling, lambda evaluation: shown.append(evaluation.x0))  # noqa: B023
        assert len(shown) == 10
        for x0 in shown:
            torch.testing.assert_close(x0, model.x0, atol=1e-3, rtol=0)


def test_the_three_predictions_describe_one_point():
    x0, eps = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    a = torch.tensor(0.3, dtype=torch.float64)
    x = add_noise(x0, eps, a)
    torch.testing.assert_close(x, a.sqrt() * x0 + (1 - a).sqrt() * eps)
    v = a.sqrt() * eps - (1 - a).sqrt() * x0
    for output, kind in ((eps, "epsilon"), (x0, "sample"), (v, "v_prediction")):
        found = to_x0_eps(output, x, a, kind)
        torch.testing.assert_close(found, (x0, eps))


@pytest.mark.parametrize(("steps", "warned"), [(600, True), (50, False)])
def test_a_late_first_timestep_gives_a_warning(steps, warned, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_late_start(make_timesteps(SchedulerConfig(), steps)[0], 1000)
    assert ("first timestep is 599 of 1000" in caplog.text) == warned
