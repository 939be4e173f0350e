"""The two conventions of PNDM: which times are visited, and what is looked up for each.

A time is a training step t, or END (-1) for the data. The authors' code and diffusers number
them differently, so the same noise gives different images.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from .config import SchedulerConfig
from .errors import check_choice
from .noise_schedule import NoiseSchedule
from .timesteps import END, check_steps, make_timesteps

Convention = Literal["diffusers", "paper"]


class Grid(Protocol):
    """What a PNDM sampler asks of a convention."""

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The start of each step, descending."""
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
        """The time that the model is told."""
        ...

    def midpoint(self, t: int, t_prev: int) -> tuple[float, float]:
        """Between two times: where the first transfer goes, and the middle itself.

        The model is evaluated at the middle twice, the second time after a transfer to it.
        """
        ...

    def evaluates_at(self, t_prev: int) -> bool:
        """Whether an improved Euler step may evaluate the model at its end."""
        ...


@dataclass(frozen=True)
class DiffusersGrid:
    """diffusers' PNDMScheduler: whole timesteps, and the index of alphas_cumprod is t."""

    timesteps: tuple[int, ...]
    table: Tensor
    final: Tensor
    converts_each_evaluation: bool = False

    def alpha_cumprod(self, t: float) -> Tensor:
        return self.final if t == END else self.table[int(t)]

    def model_time(self, t: float) -> float:
        return max(t, 0)

    def midpoint(self, t: int, t_prev: int) -> tuple[float, float]:
        middle = math.floor((t + t_prev) / 2)
        # Where diffusers walks the list rightly, and the gap is odd, its first transfer goes to
        # one above the middle.
        return (t - (t - t_prev) // 2 if self._is_even else middle), middle

    def evaluates_at(self, t_prev: int) -> bool:
        return t_prev != END

    @property
    def _is_even(self) -> bool:
        """Whether all gaps are T // N, as diffusers takes them to be."""
        gap = len(self.table) // len(self.timesteps)
        return all(
            t - t_prev == gap for t, t_prev in zip(self.timesteps, self.timesteps[1:], strict=False)
        )


@dataclass(frozen=True)
class PaperGrid:
    """The authors' code: times i (T // N), midpoints in between, alphas_cumprod one index on.

    The last step goes from t = 0 to -1, that is from alphas_cumprod[1] to alphas_cumprod[0].
    """

    timesteps: tuple[int, ...]
    table: Tensor
    converts_each_evaluation: bool = True

    def alpha_cumprod(self, t: float) -> Tensor:
        return self.table[min(math.floor(t) + 1, len(self.table) - 1)]

    def model_time(self, t: float) -> float:
        return t

    def midpoint(self, t: int, t_prev: int) -> tuple[float, float]:
        middle = (t + t_prev) / 2
        return middle, middle

    def evaluates_at(self, t_prev: int) -> bool:
        return True


def make_grid(
    config: SchedulerConfig,
    steps: int,
    convention: Convention,
    *,
    dtype: torch.dtype = torch.float32,
) -> Grid:
    """Return the grid of N = ``steps`` steps.

    ``paper`` ignores timestep_spacing, steps_offset and set_alpha_to_one. Neither rescales to a
    zero terminal signal-to-noise ratio: the transfer cannot start there, and diffusers'
    PNDMScheduler has no such option.

    Raises:
        ScheduleError: see ``make_timesteps``, or there is no such convention.
    """
    check_choice("convention", convention, get_args(Convention))
    table = NoiseSchedule.from_config(config, dtype=dtype, rescale_zero_snr=False).alphas_cumprod
    if convention == "paper":
        T = config.num_train_timesteps
        check_steps(steps, T)
        return PaperGrid(tuple(i * (T // steps) for i in reversed(range(steps))), table)
    final = torch.ones((), dtype=dtype) if config.set_alpha_to_one else table[0]
    return DiffusersGrid(tuple(make_timesteps(config, steps)), table, final)
