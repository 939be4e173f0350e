"""A noise schedule as few points, for drawing it: a million training steps fit no picture."""

from dataclasses import dataclass

from .noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class ScheduleOutline:
    """Points of a schedule: ``betas[i]`` and ``alphas_cumprod[i]`` belong to timestep ``t[i]``."""

    t: list[int]
    betas: list[float]
    alphas_cumprod: list[float]


def outline(schedule: NoiseSchedule, most: int = 1000) -> ScheduleOutline:
    """Return at most ``most`` points, at least 2, evenly spread from timestep 0 to T-1.

    All T where there are no more.
    """
    T = schedule.num_train_timesteps
    times = range(T) if most >= T else [i * (T - 1) // (most - 1) for i in range(most)]
    t = list(times)
    return ScheduleOutline(t, schedule.betas[t].tolist(), schedule.alphas_cumprod[t].tolist())
