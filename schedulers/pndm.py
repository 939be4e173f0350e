"""PNDM: pseudo numerical methods for diffusion models (Liu et al., ICLR 2022)."""

import logging
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

from torch import Tensor

from .config import SchedulerConfig
from .errors import ScheduleError, check_choice
from .noise_schedule import noise_clock
from .pndm_grid import Convention, Grid, list_timesteps, make_grid
from .prediction import to_eps, to_x0_eps
from .probability_flow import derivative
from .sampler import Evaluation, Model, Noise, Sampling, ScheduleSampler
from .span import Stretch
from .timesteps import Spacing, step_pairs
from .transfer import transfer

logger = logging.getLogger(__name__)

Method = Literal["F-PNDM", "S-PNDM", "PLMS", "FON", "iPNDM_v"]
Kind = Literal["runge_kutta", "improved_euler", "multistep"]

# Adams-Bashforth weights, newest evaluation first, by their number (eq. 12).
MULTISTEP_WEIGHTS: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
RUNGE_KUTTA_STEPS = 3
_FEW = 20
_LARGEST_WEIGHTS = 10.0
"""The sum of their absolute values; 6.7 after even steps."""
_ORDER: dict[Method, int] = {"F-PNDM": 4, "S-PNDM": 2, "PLMS": 4, "FON": 4, "iPNDM_v": 4}
_RUNGE_KUTTA_FIRST: tuple[Method, ...] = ("F-PNDM", "FON")
_IMPROVED_EULER_FIRST: tuple[Method, ...] = ("S-PNDM", "PLMS")
_EVALUATIONS: dict[Kind, int] = {"runge_kutta": 4, "improved_euler": 2, "multistep": 1}


@dataclass(frozen=True)
class Step:
    """From ``t`` to ``t_prev``, by one kind of pseudo numerical method."""

    t: int
    t_prev: int
    kind: Kind


Self = TypeVar("Self", bound="PNDM")


@dataclass(frozen=True)
class PNDM(ScheduleSampler):
    """PNDM, with the evaluations of its ``plan``. The warm-up is the same wherever a run starts.

    Attributes:
        method: F-PNDM (Runge-Kutta, then fourth order), S-PNDM (improved Euler, then second
            order), PLMS (improved Euler, then ascending to fourth order; diffusers'
            skip_prk_steps), FON (F-PNDM's weights on dx/dt instead of the noise, moving in straight
            lines: the classical fourth-order method that the paper compares with), iPNDM_v (no
            warm-up: ascending to fourth order, one evaluation for each step, with weights for
            uneven steps; for few steps).
        convention: whose timesteps and tables are used.

    Raises:
        ScheduleError: there is no such method or convention, or the only step would change nothing.
    """

    method: Method = "F-PNDM"
    convention: Convention = "diffusers"

    def __post_init__(self) -> None:
        check_choice("method", self.method, _ORDER)
        _ = self.plan  # raises where it has no step

    @classmethod
    def over(
        cls: type[Self],
        config: SchedulerConfig,
        stretch: Stretch,
        spacing: Spacing | None = None,
        **settings: Any,
    ) -> Self:
        convention = settings.get("convention", cls.convention)
        timesteps = list_timesteps(config, stretch.steps, convention, stretch.whole, spacing)
        return cls(config, stretch.of(timesteps), **settings)

    @property
    def settings(self) -> dict[str, Any]:
        return {"sampler": "PNDM", "method": self.method, "convention": self.convention}

    @cached_property
    def grid(self) -> Grid:
        """Times and tables."""
        return make_grid(self.config, self.span, self.convention, dtype=self.dtype)

    @cached_property
    def plan(self) -> list[Step]:
        """The steps that run.

        F-PNDM and FON warm up with up to three Runge-Kutta steps, S-PNDM and PLMS with one improved
        Euler step, iPNDM_v not at all. A last step between equal alphas_cumprod is left out, since
        it would change nothing (leading spacing ends like this, unless set_alpha_to_one).
        """
        grid, method = self.grid, self.method
        plan = []
        for i, (t, t_prev) in enumerate(step_pairs(grid.timesteps, grid.end)):
            kind: Kind = "multistep"
            if method in _RUNGE_KUTTA_FIRST:
                kind = "runge_kutta" if i < RUNGE_KUTTA_STEPS else "multistep"
            elif method in _IMPROVED_EULER_FIRST and i == 0 and grid.evaluates_at(t_prev):
                kind = "improved_euler"
            plan.append(Step(t, t_prev, kind))
        last = plan[-1]
        if grid.alpha_cumprod(last.t) != grid.alpha_cumprod(last.t_prev):
            return plan
        if len(plan) == 1:
            raise ScheduleError(
                f"PNDM would not evaluate the model at all: its only step, from timestep {last.t} "
                "to the image, changes nothing in this schedule. Use at least 2 steps, or set "
                "timestep_spacing to 'trailing' with 'Noise Schedule'. If a run is split, end the "
                "part before this one at the last step."
            )
        return plan[:-1]

    @property
    def evaluations(self) -> int:
        return sum(_EVALUATIONS[step.kind] for step in self.plan)

    def begin(self, noise: Tensor) -> Tensor:
        if len(self.span.timesteps) < _FEW and self.method != "iPNDM_v":
            logger.info(
                "With fewer than %d steps, the method iPNDM_v with the spacing power comes "
                "closer to the image of many steps than %s.",
                _FEW,
                self.method,
            )
        return super().begin(noise)

    def alpha_cumprod(self, t: float) -> Tensor:
        return self.grid.alpha_cumprod(t)

    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        grid, method = self.grid, self.method
        prediction_type = self.config.prediction_type
        classical = method == "FON"
        uneven = method == "iPNDM_v"
        # "sample" has no meaning when combined raw; each evaluation becomes noise at once.
        at_once = (
            grid.converts_each_evaluation or prediction_type == "sample" or classical or uneven
        )

        def evaluate(x_t: Tensor, t: float) -> Generator[Evaluation, None, Tensor]:
            time = grid.model_time(t)
            output, a = model(x_t, time)[:, : x.shape[1]], grid.alpha_cumprod(time)
            yield Evaluation(time, x_t, output, to_x0_eps(output, x_t, a, prediction_type)[0])
            e = to_eps(output, x_t, a, prediction_type) if at_once else output
            return derivative(x_t, e, a, grid.log_slope(time)) if classical else e

        def move(x_t: Tensor, e: Tensor, t: float, t_prev: float) -> Tensor:
            if classical:
                return x_t + (grid.clock(t_prev) - grid.clock(t)) * e
            a, a_prev = grid.alpha_cumprod(t), grid.alpha_cumprod(t_prev)
            eps = e if at_once else to_eps(e, x_t, a, prediction_type)
            return transfer(x_t, eps, a, a_prev)

        history: list[Tensor] = []  # newest first
        clocks: list[float] = []  # their times, for weights that depend on them
        for step in self.plan:
            t, t_prev = step.t, step.t_prev
            e = yield from evaluate(x, t)
            history = [e, *history[: _ORDER[method] - 1]]
            if uneven:
                clocks = [_noise_clock(grid, t), *clocks[: _ORDER[method] - 1]]
            match step.kind:
                # Pseudo linear multistep (eq. 12): the newest evaluations of earlier steps.
                case "multistep":
                    weights = (
                        _stable_weights(clocks, _noise_clock(grid, t_prev))
                        if uneven
                        else MULTISTEP_WEIGHTS[len(history)]
                    )
                    e = _combine(history[: len(weights)], weights)

                # Pseudo Runge-Kutta (eq. 13): both ends and twice the middle.
                case "runge_kutta":
                    first, middle = grid.midpoint(t, t_prev)
                    first = middle if classical else first
                    e_2 = yield from evaluate(move(x, e, t, first), middle)
                    e_3 = yield from evaluate(move(x, e_2, t, middle), middle)
                    e_4 = yield from evaluate(move(x, e_3, t, t_prev), t_prev)
                    e = _combine((e, e_2, e_3, e_4), (1 / 6, 1 / 3, 1 / 3, 1 / 6))

                # Pseudo improved Euler (appendix, S-PNDM): both ends.
                case "improved_euler":
                    e_2 = yield from evaluate(move(x, e, t, t_prev), t_prev)
                    e = _combine((e, e_2), (1 / 2, 1 / 2))
            x = move(x, e, t, t_prev)
        return x


def adams_bashforth(times: Sequence[float], end: float) -> tuple[float, ...]:
    """Return the weights of evaluations at these times for the step from the newest to ``end``.

    They average the polynomial through the evaluations over the step. After even steps they are
    ``MULTISTEP_WEIGHTS`` (Hairer, Norsett & Wanner 1993, section III.5).

    Args:
        times: up to four, newest first. An evaluation at the time of a newer one has no weight.
        end: another time, or the same as the newest.
    """
    start, used = times[0], tuple(dict.fromkeys(times))
    # Gauss-Legendre quadrature with two points is exact up to the third power.
    middle, half = (start + end) / 2, (end - start) / (2 * math.sqrt(3))
    found = {
        own: sum(_lagrange(used, own, at) for at in (middle - half, middle + half)) / 2
        for own in used
    }
    return tuple(found.pop(time, 0.0) for time in times)


def _stable_weights(times: Sequence[float], end: float) -> tuple[float, ...]:
    """Return ``adams_bashforth`` for as many evaluations as can be trusted.

    A long step after short ones would multiply their differences, and with them every error.
    """
    for count in range(len(times), 1, -1):
        weights = adams_bashforth(times[:count], end)
        if sum(map(abs, weights)) <= _LARGEST_WEIGHTS:
            return weights
    return (1.0,)


def _lagrange(times: Sequence[float], own: float, at: float) -> float:
    """Return the value at ``at`` of the polynomial that is 1 at ``own`` and 0 at the others."""
    return math.prod((at - time) / (own - time) for time in times if time != own)


def _noise_clock(grid: Grid, t: float) -> float:
    """Return a time in which the noise changes evenly, whatever the schedule."""
    return noise_clock(grid.alpha_cumprod(t).item())


def _combine(evaluations: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = weights[0] * evaluations[0]
    for e, weight in zip(evaluations[1:], weights[1:], strict=True):
        total = total + weight * e
    return total
