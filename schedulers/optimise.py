"""Finds timesteps for few steps, by comparing the images that a model draws with them.

Each number of steps gets the list with which iPNDM_v comes closest to the image of many steps. The
lists of one family are tried first: the spacing "power" with another exponent, and with another
start. With few steps the first is the longest, and there the model sees almost nothing; starting a
step later, with the same noise, loses less. If requested, each timestep is then moved on its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from .config import SchedulerConfig
from .errors import ScheduleError
from .pndm import PNDM
from .span import Span, Stretch
from .timesteps import POWER, by_noise_clock, make_timesteps

Draw = Callable[[PNDM, bool], Tensor]
"""(the sampler, whether to use the held-out seeds) -> images of fixed seeds, shape (B, C, H, W)."""

FEWEST, MOST = 4, 50
"""The numbers of steps that get a list."""

_REFINED = 10
_TRIED = (4, 5, 6, 8, 10, 14)
"""These are searched; the lists for other numbers are interpolated."""
_PLAIN = 20
"""From this number on, "power" is as good."""
_CHECKED = (*range(FEWEST, _REFINED + 1), 14)

# The family: how many mean steps below the first timestep of "power" a list starts, and its
# exponent. Starts are tried with an exponent that is good for all measured models, then exponents
# at the best start, then starts near it.
_LATE, _EXPONENT, _EXPONENTS, _NEAR = (0.0, 0.4, 0.8, 1.2), 1.7, (1.5, 1.9), (-0.2, 0.2)
_SEARCH = len(_LATE) + len(_EXPONENTS) + len(_NEAR)
_MOVES = (0.25, 0.12, 0.06)
"""How far a timestep is moved in each round of the refinement, relative to the gap below it."""
_EQUAL = 1e-20
"""Replaces a square of 0, which has no logarithm."""


@dataclass(frozen=True)
class Checked:
    """Distances to the images of many steps with ``steps`` steps, on the held-out seeds."""

    steps: int
    optimised: float
    power: float


def evaluations(config: SchedulerConfig, teacher: int, *, refine: bool) -> int:
    """Return the maximum number of times that ``optimise`` calls the model."""
    T = config.num_train_timesteps
    teacher = min(teacher, T)
    search = sum(_SEARCH * N for N in _TRIED if N <= T)
    check = sum((2 + (refine and N <= _REFINED)) * N for N in _CHECKED if N <= T)
    moves = sum(2 * N * N * len(_MOVES) + N for N in _to_refine(T)) if refine else 0
    return 2 * teacher + search + moves + check


def optimise(
    config: SchedulerConfig, draw: Draw, *, teacher: int, refine: bool = False
) -> tuple[SchedulerConfig, list[Checked]]:
    """Return the options with ``optimised`` lists, and how they were checked.

    A list that does worse than "power" on the held-out seeds is dropped.

    Args:
        config: of the model.
        draw: draws the same seeds at each call.
        teacher: the evaluations for the target images; at most T.
        refine: whether to move each timestep on its own if there are 10 or fewer.

    Raises:
        ScheduleError: the model has fewer timesteps than the shortest list.
    """
    T = config.num_train_timesteps
    if T < FEWEST:
        raise ScheduleError(
            f"The model has only {T} timesteps, but lists are found for {FEWEST} to {MOST} "
            "steps. Use all of its timesteps."
        )
    many = PNDM.over(config, Stretch(min(teacher, T)), "power", method="iPNDM_v")
    targets = {held_back: draw(many, held_back) for held_back in (False, True)}

    def distance(times: Sequence[int], *, held_back: bool = False) -> float:
        sampler = PNDM(config, Span(tuple(times)), method="iPNDM_v")
        return typical_distance(draw(sampler, held_back), targets[held_back])

    found = {N: _search(config, N, distance) for N in _TRIED if N <= T}
    found[_PLAIN] = (0.0, POWER)
    lists = {N: _between(config, N, found) for N in range(FEWEST, min(MOST, T) + 1)}

    checked = []
    for N in (N for N in _CHECKED if N <= T):
        power = make_timesteps(config, N, spacing="power")
        candidates = [power, lists[N]]
        if refine and N in _to_refine(T):
            candidates.append(_refine(config, lists[N], distance))
        losses = [distance(times, held_back=True) for times in candidates]
        best = min(losses)
        lists[N] = candidates[losses.index(best)]
        checked.append(Checked(N, best, losses[0]))
    return replace(config, optimised=tuple(map(tuple, lists.values()))), checked


def typical_distance(images: Tensor, targets: Tensor) -> float:
    """Return the geometric mean over the images of the root mean square difference of their pixels.

    The few images that change completely dominate the arithmetic mean, which is far less certain.
    """
    squares = (images - targets).square().flatten(1).mean(1)
    return squares.clamp(min=_EQUAL).log().mean().div(2).exp().item()


def _to_refine(T: int) -> range:
    return range(FEWEST, min(_REFINED, T) + 1)


def _family(config: SchedulerConfig, N: int, late: float, exponent: float) -> list[int]:
    start = 1 - late / N
    return by_noise_clock(config, [start * ((N - k) / N) ** exponent for k in range(N)])


def _search(
    config: SchedulerConfig, N: int, distance: Callable[[Sequence[int]], float]
) -> tuple[float, float]:
    """Return the best (late, exponent) for N steps."""
    best, least = (0.0, _EXPONENT), float("inf")

    def try_each(candidates: Iterable[tuple[float, float]]) -> None:
        nonlocal best, least
        for candidate in candidates:
            loss = distance(_family(config, N, *candidate))
            if loss < least:
                best, least = candidate, loss

    try_each([(late, _EXPONENT) for late in _LATE])
    try_each([(best[0], exponent) for exponent in _EXPONENTS])
    try_each([(max(best[0] + near, 0.0), best[1]) for near in _NEAR])
    return best


def _between(config: SchedulerConfig, N: int, found: dict[int, tuple[float, float]]) -> list[int]:
    """Return the list of N steps between those found."""
    below = max((n for n in found if n <= N), default=min(found))
    above = min((n for n in found if n >= N), default=max(found))
    part = (N - below) / (above - below) if above > below else 0.0
    late, exponent = (
        (1 - part) * low + part * high for low, high in zip(found[below], found[above], strict=True)
    )
    return _family(config, N, late, exponent)


def _refine(
    config: SchedulerConfig, times: Sequence[int], distance: Callable[[Sequence[int]], float]
) -> list[int]:
    """Move one timestep at a time, by less in each round, as long as that helps."""
    best, least = list(times), distance(times)
    for share in _MOVES:
        for k in range(len(best)):
            before, _, after = [config.num_train_timesteps, *best, 0][k : k + 3]
            far = max(round(share * (best[k] - after)), 1)
            for move in (far, -far):
                if not before > best[k] + move > after:
                    continue
                moved = [*best[:k], best[k] + move, *best[k + 1 :]]
                loss = distance(moved)
                if loss < least:
                    best, least = moved, loss
                    break
    return best
