"""Reduce a noise schedule, which may have a million timesteps, to the points of a plot."""

from dataclasses import dataclass

from .noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class ScheduleOutline:
    """Points of a schedule: ``betas[i]`` and ``alphas_cumprod[i]`` belong to timestep ``t[i]``."""

    t: list[int]
    betas: list[float]
    alphas_cumprod: list[float]


def outline(schedule: NoiseSchedule, max_points: int = 1000) -> ScheduleOutline:
    """Return at most ``max_points`` (at least 2) points, evenly spaced from timestep 0 to T-1.

    If T is not larger, all timesteps are returned.
    """
    T, n = schedule.num_train_timesteps, max_points
    times = range(T) if n >= T else [i * (T - 1) // (n - 1) for i in range(n)]
    t = list(times)
    return ScheduleOutline(t, schedule.betas[t].tolist(), schedule.alphas_cumprod[t].tolist())
