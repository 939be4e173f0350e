"""A schedule reduced to a few points for its plot."""

import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.outline import outline


@pytest.mark.parametrize(
    ("T", "points"), [(1, 1), (2, 2), (1000, 1000), (1001, 1000), (10**6, 1000)]
)
def test_at_most_a_thousand_points_reach_from_the_first_timestep_to_the_last(T, points):
    schedule = NoiseSchedule.from_config(SchedulerConfig(num_train_timesteps=T))
    found = outline(schedule)
    assert len(found.t) == len(found.betas) == len(found.alphas_cumprod) == points
    assert (found.t[0], found.t[-1]) == (0, T - 1)
    gaps = {later - t for t, later in zip(found.t, found.t[1:], strict=False)}
    assert all(gap >= 1 for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert torch.equal(torch.tensor(found.alphas_cumprod), schedule.alphas_cumprod[found.t])
    assert torch.equal(torch.tensor(found.betas), schedule.betas[found.t])
