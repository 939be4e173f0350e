"""PNDM's `paper` convention against a second implementation of the paper's formulas."""

import ours
import paper
import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.pndm import PNDM, Method
from comfyui_unconditional.schedulers.prediction import to_eps
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.span import Stretch
from denoisers import SHAPE, Denoiser
from ours import SEEDS, difference


@pytest.mark.parametrize("method", ["F-PNDM", "S-PNDM", "PLMS", "FON"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 10, 40, 50])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_paper_convention_equals_a_second_implementation(method, steps, prediction, figure):
    for schedule in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        config = SchedulerConfig(
            beta_schedule=schedule,
            prediction_type=prediction,
            timestep_spacing="trailing",  # ignored, like the next two
            steps_offset=5,
            set_alpha_to_one=True,
        )
        table = NoiseSchedule.from_config(config).alphas_cumprod
        denoise = Denoiser(config)

        def eps(x: torch.Tensor, t: float) -> torch.Tensor:
            a = table[min(int(t // 1) + 1, 999)]  # noqa: B023 -- called within this pass only
            return to_eps(denoise(x, t), x, a, prediction)  # noqa: B023

        x = SeededNoise(SEEDS, SHAPE)()
        reference = paper.paper_pndm(eps, x, table, steps, method)
        result = ours.run_pndm(
            config, steps, denoise, SEEDS, SHAPE, method=method, convention="paper"
        )
        # One or two steps from noise leave most values beyond (-1, 1), in any implementation.
        figure(f"{method}, paper", difference(result, reference, inside=steps > 3), 1e-4)


def test_the_paper_convention_gives_the_model_fractions_of_timesteps():
    config = SchedulerConfig()
    denoise = Denoiser(config)
    ours.run_pndm(config, 40, denoise, SEEDS, SHAPE, convention="paper")
    assert denoise.times[:5] == [975, 962.5, 962.5, 950, 950]
    assert denoise.times[-2:] == [25, 0]


def sampler_of(steps: int, method: Method = "F-PNDM") -> PNDM:
    return PNDM.over(SchedulerConfig(), Stretch(steps), method=method, convention="paper")


def test_the_paper_convention_has_exactly_n_steps_and_ends_at_the_first_alpha():
    for steps in range(1, 1001):
        grid = sampler_of(steps).grid
        assert len(grid.timesteps) == steps
        assert grid.timesteps[0] == (steps - 1) * (1000 // steps)
        assert grid.alpha_cumprod(-1) == grid.table[0]
        assert sampler_of(steps).evaluations == steps + 3 * min(3, steps)
        assert sampler_of(steps, "PLMS").evaluations == steps + 1


def test_an_index_beyond_the_table_is_its_last_entry():
    grid = sampler_of(1000).grid
    assert grid.timesteps[0] == 999
    assert grid.alpha_cumprod(999) == grid.table[999]
