"""The two conventions of PNDM: the times that are visited, and the table entries for each.

A time is a training step t, or END (-1) for the data. The authors' code and diffusers number
them differently, so the same noise gives different images.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from .config import SchedulerConfig
from .errors import check_choice
from .noise_schedule import NoiseSchedule
from .span import Span
from .timesteps import END, Spacing, make_timesteps, step_pairs

Convention = Literal["diffusers", "paper"]


class Grid(Protocol):
    """What a PNDM sampler needs from a convention."""

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The start of each step, descending."""
        ...

    @property
    def end(self) -> int:
        """The time after the last step: END, or a timestep if noise is left over."""
        ...

    @property
    def table(self) -> Tensor:
        """alphas_cumprod of the T training steps, shape (T,)."""
        ...

    @property
    def converts_each_evaluation(self) -> bool:
        """True: a v-prediction becomes noise at its own (x, t), before it is combined with others.

        False: the raw outputs are combined, and the result becomes noise where the transfer
        starts.
        """
        ...

    def alpha_cumprod(self, t: float) -> Tensor:
        """alphas_cumprod at a time, 0-d."""
        ...

    def model_time(self, t: float) -> float:
        """The time that the model is given."""
        ...

    def midpoint(self, t: int, t_prev: int) -> tuple[float, float]:
        """Between two times: the target of the first transfer, and the middle itself.

        The model is evaluated at the middle twice, the second time after a transfer to it.
        """
        ...

    def evaluates_at(self, t_prev: int) -> bool:
        """Whether an improved Euler step may evaluate the model at its end."""
        ...

    def clock(self, t: float) -> float:
        """A time in the units of the differential equation, training steps."""
        ...

    def log_slope(self, t: float) -> Tensor:
        """The derivative of ln alphas_cumprod at a time of the model, by ``clock``; 0-d."""
        ...


@dataclass(frozen=True)
class DiffusersGrid:
    """diffusers' PNDMScheduler: whole timesteps, and the index of alphas_cumprod is t."""

    timesteps: tuple[int, ...]
    end: int
    table: Tensor
    final: Tensor
    converts_each_evaluation: bool = False

    def alpha_cumprod(self, t: float) -> Tensor:
        return self.final if t == END else self.table[int(t)]

    def model_time(self, t: float) -> float:
        return max(t, 0)

    def midpoint(self, t: int, t_prev: int) -> tuple[float, float]:
        middle = math.floor((t + t_prev) / 2)
        # diffusers assumes that all gaps are equal. If they are, and odd, its first transfer goes
        # to one above the middle.
        return (t - (t - t_prev) // 2 if self._is_even else middle), middle

    def evaluates_at(self, t_prev: int) -> bool:
        return t_prev != END

    def clock(self, t: float) -> float:
        # If the end has the noise of timestep 0, it is timestep 0.
        return 0 if t == END and self.final == self.table[0] else t

    def log_slope(self, t: float) -> Tensor:
        return self._log_slopes[int(t)]

    @cached_property
    def _log_slopes(self) -> Tensor:
        return _log_slopes(self.table)

    @property
    def _is_even(self) -> bool:
        pairs = step_pairs(self.timesteps, self.end)
        return len({t - t_prev for t, t_prev in pairs if t_prev != END}) <= 1


@dataclass(frozen=True)
class PaperGrid:
    """The authors' code: times i (T // N), midpoints in between, alphas_cumprod one index on.

    The last step goes from t = 0 to -1, that is from alphas_cumprod[1] to alphas_cumprod[0].
    """

    timesteps: tuple[int, ...]
    end: int
    table: Tensor
    converts_each_evaluation: bool = True

    def alpha_cumprod(self, t: float) -> Tensor:
        return self.table[self._index(t)]

    def model_time(self, t: float) -> float:
        return t

    def midpoint(self, t: int, t_prev: int) -> tuple[float, float]:
        middle = (t + t_prev) / 2
        return middle, middle

    def evaluates_at(self, t_prev: int) -> bool:
        return True

    def clock(self, t: float) -> float:
        return t

    def log_slope(self, t: float) -> Tensor:
        return self._log_slopes[self._index(t)]

    @cached_property
    def _log_slopes(self) -> Tensor:
        return _log_slopes(self.table)

    def _index(self, t: float) -> int:
        return min(math.floor(t) + 1, len(self.table) - 1)


def _log_slopes(table: Tensor) -> Tensor:
    """Return the derivative of ln alphas_cumprod at each training step, shape (T,).

    Uses central differences, with the data one step before the first; one-sided at the last.
    """
    from_data = torch.cat((torch.ones_like(table[:1]), table))
    return torch.gradient(from_data.log())[0][1:]


def list_timesteps(
    config: SchedulerConfig,
    steps: int,
    convention: Convention,
    whole: float | None = None,
    spacing: Spacing | None = None,
) -> list[int]:
    """Return where each of N = ``steps`` steps starts.

    ``paper`` ignores the spacing and the offset of ``config``, but not ``spacing``.

    Raises:
        ScheduleError: see ``make_timesteps``, or there is no such convention.
    """
    check_choice("convention", convention, get_args(Convention))
    if convention == "paper":
        config = replace(config, timestep_spacing="leading", steps_offset=0)
    return make_timesteps(config, steps, whole, spacing)


def make_grid(
    config: SchedulerConfig,
    span: Span,
    convention: Convention,
    *,
    dtype: torch.dtype = torch.float32,
) -> Grid:
    """Return the grid of the steps of ``span``.

    ``paper`` ignores set_alpha_to_one. Neither convention rescales to a zero terminal
    signal-to-noise ratio: the transfer cannot start there, and diffusers' PNDMScheduler has no
    such option.
    """
    table = NoiseSchedule.from_config(config, dtype=dtype, rescale_zero_snr=False).alphas_cumprod
    if convention == "paper":
        return PaperGrid(span.timesteps, span.end, table)
    final = torch.ones((), dtype=dtype) if config.set_alpha_to_one else table[0]
    return DiffusersGrid(span.timesteps, span.end, table, final)
