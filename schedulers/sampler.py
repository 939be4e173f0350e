"""What every sampler has in common: its settings, the model that it calls, what it yields.

A sampler is a frozen dataclass whose ``sample`` is a generator. It yields one ``Evaluation`` for
each call of the model and returns the final x. All it remembers is local, so nothing survives a
run.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from .config import PredictionType, SchedulerConfig
from .noise_schedule import NoiseSchedule
from .prediction import to_x0_eps
from .span import Span, Stretch
from .timesteps import make_timesteps

Model = Callable[[Tensor, float], Tensor]
"""(x_t of shape (B, C, H, W), t) -> prediction of shape (B, C, H, W), or (B, 2C, H, W) where the
second half is the learned variance."""

Noise = Callable[[], Tensor]
"""Draws fresh standard normal noise of shape (B, C, H, W)."""

Self = TypeVar("Self", bound="Sampler")


@dataclass(frozen=True)
class Evaluation:
    """One call of the model: the time ``t`` that it was given, ``x_t``, and its ``output``."""

    t: float
    x_t: Tensor
    output: Tensor
    alpha_cumprod: Tensor
    prediction_type: PredictionType

    @property
    def x0(self) -> Tensor:
        """The image that the model predicts from here, shape (B, C, H, W), not clipped."""
        return to_x0_eps(self.output, self.x_t, self.alpha_cumprod, self.prediction_type)[0]


Sampling = Generator[Evaluation, None, Tensor]
"""A running sampler."""


@dataclass(frozen=True)
class Sampler(ABC):
    """A sampler with all its settings, over some steps of a noise schedule.

    Attributes:
        config: the scheduler options.
        span: the steps: at the start of a whole list of timesteps, or a part of one.
        dtype: of the schedule's tables; float64 is for measuring errors.
    """

    config: SchedulerConfig
    span: Span
    _: KW_ONLY
    dtype: torch.dtype = torch.float32

    @classmethod
    def over(cls: type[Self], config: SchedulerConfig, stretch: Stretch, **settings: Any) -> Self:
        """Return the sampler over a stretch of the list of timesteps that ``config`` spaces.

        Raises:
            ScheduleError: a setting is impossible, or see ``make_timesteps``.
        """
        timesteps = make_timesteps(config, stretch.steps, stretch.whole)
        return cls(config, stretch.of(timesteps), **settings)

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The name of the sampler and its settings, for the record of a picture."""

    @abstractmethod
    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        """Sample, calling the model ``evaluations`` times.

        Args:
            model: see ``Model``; where the variance is not learned the first C of 2C output
                channels are used.
            x: shape (B, C, H, W), at the first timestep: at the start of a whole list, standard
                normal noise.
            noise: called once for each step that adds noise.
        """

    @property
    def evaluations(self) -> int:
        """How often the model is called."""
        return len(self.span.timesteps)

    def alpha_cumprod(self, t: float) -> Tensor:
        """Return alphas_cumprod at a time of the model, or at ``span.end``; 0-d."""
        return self._alphas_cumprod[int(t)]

    @cached_property
    def _alphas_cumprod(self) -> Tensor:
        return NoiseSchedule.from_config(self.config, dtype=self.dtype).alphas_cumprod

    @cached_property
    def _one(self) -> Tensor:
        return torch.ones((), dtype=self.dtype)


def drain(sampling: Sampling, on_evaluation: Callable[[Evaluation], object] = id) -> Tensor:
    """Run a sampler to its end and return the final x; call ``on_evaluation`` after each call."""
    while True:
        try:
            evaluation = next(sampling)
        except StopIteration as end:
            return end.value
        on_evaluation(evaluation)
