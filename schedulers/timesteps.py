"""Which timesteps a sampler visits, in descending order.

The time after the last step, the data, is ``END``.
"""

import logging
import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal

from .config import SchedulerConfig
from .errors import ScheduleError
from .noise_schedule import NoiseSchedule, noise_clock

logger = logging.getLogger(__name__)

END = -1

Spacing = Literal["leading", "linspace", "trailing", "power", "optimised"]
"""diffusers' three, our own, and the lists found for the model."""

POWER = 1.9
"""In measurements, 1.75 to 2 were about equally good."""
_LEAST_SIGNAL = 4e-5
"""alphas_cumprod where Ho et al.'s linear schedule ends."""


def make_timesteps(
    config: SchedulerConfig,
    steps: int,
    whole: float | None = None,
    spacing: Spacing | None = None,
) -> list[int]:
    """Return N = ``steps`` timesteps, strictly descending, each in 0 .. T-1.

    "leading", "linspace" and "trailing" as in Lin et al. 2024, table 2. "leading" is the same as in
    diffusers even if it starts late: N = 600 of T = 1000 starts at 599, and N = 1 is the list [0].
    The steps of "power" become shorter towards the data; it starts at T-1, or where a model that
    predicts the noise still sees a signal. "optimised" is the model's own list of N; for the end of
    a longer list its steps are shortened in proportion, and without a list of that length it is
    "power".

    Args:
        config: the options; T is its ``num_train_timesteps``.
        steps: N, in 1 .. T.
        whole: M in N .. T, for the last N of a list of M; as returned by ``end_of_list``, it need
            not be a whole number. Their gap is T / M. None means N, the whole list.
        spacing: None means that of ``config``.

    Raises:
        ScheduleError: N is not in 1 .. T, ``steps_offset`` leads beyond T-1, or no lists were found
            for the model.
    """
    T, N = config.num_train_timesteps, steps
    check_steps(N, T)
    M = N if whole is None else whole
    match spacing or config.timestep_spacing:
        case "leading":
            gap = T // M if whole is None else T / M
            times = [int(i * gap + 1e-6) + config.steps_offset for i in reversed(range(N))]
        case "linspace":
            times = [round(i * ((T - 1) / (M - 1))) for i in reversed(range(N))] if M > 1 else [0]
        case "trailing":
            times = [round(T - (M - N + i) * (T / M)) - 1 for i in range(N)]
        case "power":
            return by_noise_clock(config, _power(N), round(T * N / M) - 1)
        case "optimised":
            own = _optimised(config, N)
            if own is not None and whole is None:
                return own
            shape = _power(N) if own is None else _shape(config, own)
            return by_noise_clock(config, shape, round(T * N / M) - 1)
    if times[0] >= T:
        raise ScheduleError(
            f"The scheduler option steps_offset = {config.steps_offset} leads to timestep "
            f"{times[0]}, but the model's timesteps are 0 to {T - 1}. Use fewer steps, or a "
            "smaller steps_offset in the model's scheduler_config.json."
        )
    return times


def _power(N: int) -> list[float]:
    return [((N - k) / N) ** POWER for k in range(N)]


def _optimised(config: SchedulerConfig, N: int) -> list[int] | None:
    """Return the list of N timesteps that was found for a model, if there is one."""
    if not config.optimised:
        raise ScheduleError(
            "No timesteps have been found for this MODEL, so there is no spacing 'optimised'. "
            "Connect 'Optimise Timesteps' after the loader, or choose the spacing 'power'."
        )
    return next((list(times) for times in config.optimised if len(times) == N), None)


def _shape(config: SchedulerConfig, times: Sequence[int]) -> list[float]:
    """Return the noise clocks of timesteps, as fractions of the first one's."""
    table = NoiseSchedule.from_config(config, rescale_zero_snr=False).alphas_cumprod
    clocks = [noise_clock(table[t].item()) for t in times]
    return [clock / clocks[0] for clock in clocks]


def by_noise_clock(
    config: SchedulerConfig, shape: Sequence[float], highest: int | None = None
) -> list[int]:
    """Return the timesteps whose noise clocks are nearest to these fractions of the start's.

    They are strictly descending, each in 1 .. T-1; 0 only if no other is left.

    Args:
        config: the options.
        shape: N numbers in 0..1, descending.
        highest: the start, unless a model that predicts the noise sees no signal there; None means
            T-1.
    """
    N = len(shape)
    table = NoiseSchedule.from_config(config, rescale_zero_snr=False).alphas_cumprod
    highest = len(table) - 1 if highest is None else highest
    if config.prediction_type == "epsilon":
        # With less signal, an error in the predicted noise becomes a huge error in the image.
        highest = min(highest, int((table >= _LEAST_SIGNAL).sum()) - 1)
    highest = max(highest, N - 1)
    clocks = [noise_clock(a) for a in table.tolist()]

    # Ascending here; each above the one before, and low enough to leave room for the rest.
    times, lowest = [], int(highest >= N)
    for i, part in enumerate(reversed(shape)):
        wanted = clocks[highest] * part
        above = min(max(bisect_left(clocks, wanted), 1), highest)
        nearest = above - (wanted - clocks[above - 1] < clocks[above] - wanted)
        t = min(max(nearest, lowest), highest - (N - 1 - i))
        times.append(t)
        lowest = t + 1
    return times[::-1]


def end_of_list(steps: int, denoise: float, num_train_timesteps: int) -> tuple[int, float]:
    """Return (N, M): the N timesteps below ``denoise`` * T are the last of a list of M.

    M = N / denoise, which need not be a whole number. N is ``steps``, or the number of timesteps
    below ``denoise`` * T if that is smaller; at least 1.

    Args:
        steps: the requested number, at least 1.
        denoise: above 0, at most 1.
        num_train_timesteps: T.
    """
    T = num_train_timesteps
    below = max(denoise * T, 1.0)
    N = min(steps, int(below + 1e-6))
    M = N * T / below
    return N, float(round(M)) if math.isclose(M, round(M), rel_tol=1e-9) else M


def begins_with_noise(timesteps: Sequence[int], num_train_timesteps: int) -> bool:
    """Whether x is pure noise at the first of these timesteps, not a noised image.

    It is if no other step fits above the first. A leading list starts lower if N does not divide
    T; it is recognised by its gap, T // N.
    """
    T, first = num_train_timesteps, timesteps[0]
    if len(timesteps) == 1:
        return first == T - 1
    gap = first - timesteps[1]
    return first + gap >= T or T // (first // gap + 1) == gap


def check_steps(steps: int, num_train_timesteps: int) -> None:
    """Raise ``ScheduleError`` unless 1 <= ``steps`` <= ``num_train_timesteps``."""
    if not 1 <= steps <= num_train_timesteps:
        raise ScheduleError(
            f"steps must be from 1 to {num_train_timesteps}, the number of timesteps that this "
            f"model was trained with, not {steps}."
        )


def step_pairs(timesteps: Sequence[int], end: int = END) -> list[tuple[int, int]]:
    """Return (t, t_prev) for each step: the next of the list, and ``end`` after the last."""
    return list(zip(timesteps, [*timesteps[1:], end], strict=True))


def warn_of_late_start(first: float, num_train_timesteps: int) -> None:
    """Log a warning if the first timestep is too low for pure noise as input."""
    if first < 0.8 * num_train_timesteps:
        logger.warning(
            "The first timestep is %g of %d, where the model expects a recognisable image instead "
            "of pure noise, so the results will be poor. Use a number of steps that divides %d, or "
            "another timestep_spacing.",
            first,
            num_train_timesteps,
            num_train_timesteps,
        )


def parse_timesteps(text: str, num_train_timesteps: int) -> list[int]:
    """Parse a user's timesteps: descending whole numbers, separated by commas or spaces.

    Raises:
        ScheduleError: there are none, one is not a timestep of the model, or they do not descend.
    """
    last = num_train_timesteps
    times: list[int] = []
    for word in text.replace(",", " ").split():
        if not (word.isascii() and word.isdigit() and int(word) < num_train_timesteps):
            raise ScheduleError(
                f"'{word:.20}' is not a timestep of this model. Enter whole numbers from 0 to "
                f"{num_train_timesteps - 1} in timesteps."
            )
        if int(word) >= last:
            raise ScheduleError(
                f"The timesteps must be in descending order, but {word} comes after {last}. Enter "
                "the largest first."
            )
        last = int(word)
        times.append(last)
    if not times:
        raise ScheduleError("The timesteps field is empty. Enter for example 999, 500, 0.")
    return times
