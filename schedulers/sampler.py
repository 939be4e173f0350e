"""What every sampler has in common: its settings, the model that it calls, what it yields.

A sampler is a frozen dataclass whose ``sample`` is a generator. It yields one ``Evaluation`` for
each call of the model and returns the final x. Its state is local, so nothing survives a run.

At each time a noisy image is x_t = s (x0 + sigma eps), with the scale s and the noise level sigma
of that time (Karras et al. 2022, section 2). This is all that a driver needs to know of a process.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from .config import SchedulerConfig
from .noise_schedule import NoiseSchedule
from .prediction import add_noise, from_x0
from .span import Span, Stretch
from .timesteps import Spacing, begins_with_noise, make_timesteps, warn_of_late_start

Model = Callable[[Tensor, float], Tensor]
"""(x_t of shape (B, C, H, W), t) -> prediction of shape (B, C, H, W), or (B, 2C, H, W) where the
second half is the learned variance. For ``Consistency`` it returns the image itself."""

Noise = Callable[[], Tensor]
"""Draws fresh standard normal noise of shape (B, C, H, W)."""

Self = TypeVar("Self", bound="ScheduleSampler")

SMALLEST_ALPHA_CUMPROD = 4.8973451890853435e-08
"""ComfyUI's stand-in for 0, the end of a schedule with zero terminal signal-to-noise ratio."""


@dataclass(frozen=True)
class Evaluation:
    """One call of the model at the time ``t``: its input ``x_t``, and its ``output``.

    ``x0`` is the image that this output predicts, shape (B, C, H, W), not clipped by the sampler.
    """

    t: float
    x_t: Tensor
    output: Tensor
    x0: Tensor


Sampling = Generator[Evaluation, None, Tensor]
"""A running sampler."""


class Sampler(ABC):
    """A sampler with all its settings, over some steps of a process.

    Attributes:
        span: the steps: a whole list of times, or a part of one.
    """

    PRECISE: ClassVar[bool] = False
    """Whether x should be float64, because rounding of the noise shows in the image."""

    span: Span

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The name of the sampler and its settings, for the record of a picture."""

    @abstractmethod
    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        """Sample, calling the model ``evaluations`` times.

        Args:
            model: see ``Model``; if the variance is not used, the first C of 2C output channels
                are.
            x: shape (B, C, H, W), at the first timestep: at the start of a whole list, standard
                normal noise.
            noise: called once for each step that adds noise.
        """

    @property
    def evaluations(self) -> int:
        """How often the model is called."""
        return len(self.span.timesteps)

    @abstractmethod
    def level(self, t: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Return the scale, above 0, and the noise level of a time, both 0-d."""

    @abstractmethod
    def begin(self, noise: Tensor) -> Tensor:
        """Return x at the start of a whole list, from standard normal noise (B, C, H, W)."""

    @abstractmethod
    def add_noise(self, x0: Tensor, noise: Tensor) -> Tensor:
        """Return x at the first time: the image with the noise of that time."""

    def network_time(self, t: float) -> float:
        """Return the time that the network receives."""
        return t

    @abstractmethod
    def output_of(self, x0: Tensor, x_t: Tensor, t: float) -> Tensor:
        """Return the output of the model that predicts the image ``x0``."""


@dataclass(frozen=True)
class ScheduleSampler(Sampler):
    """A sampler of DDPM's process: a noise schedule of T timesteps.

    Attributes:
        config: the scheduler options.
        span: the steps.
        dtype: of the schedule's tables; float64 is for measuring errors.
    """

    config: SchedulerConfig
    span: Span
    _: KW_ONLY
    dtype: torch.dtype = torch.float32

    @classmethod
    def over(
        cls: type[Self],
        config: SchedulerConfig,
        stretch: Stretch,
        spacing: Spacing | None = None,
        **settings: Any,
    ) -> Self:
        """Return the sampler over a stretch of a list of timesteps.

        Args:
            config: the scheduler options.
            stretch: which steps of the list run.
            spacing: of the list; None means that of ``config``.
            settings: the sampler's own.

        Raises:
            ScheduleError: a setting is impossible, or see ``make_timesteps``.
        """
        timesteps = make_timesteps(config, stretch.steps, stretch.whole, spacing)
        return cls(config, stretch.of(timesteps), **settings)

    def level(self, t: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        a = self._bounded(t, dtype)
        return a.sqrt(), ((1 - a) / a).sqrt()

    def begin(self, noise: Tensor) -> Tensor:
        if not self._was_found:
            warn_of_late_start(self.span.timesteps[0], self.config.num_train_timesteps)
        return noise

    def add_noise(self, x0: Tensor, noise: Tensor) -> Tensor:
        return add_noise(x0, noise, self._bounded(self.span.timesteps[0], self.dtype))

    def output_of(self, x0: Tensor, x_t: Tensor, t: float) -> Tensor:
        return from_x0(x0, x_t, self._bounded(t, x_t.dtype), self.config.prediction_type)

    @property
    def begins_with_noise(self) -> bool:
        """Whether x is pure noise at the first timestep, not a noised image."""
        T = self.config.num_train_timesteps
        return self._was_found or begins_with_noise(self.span.timesteps, T)

    @property
    def _was_found(self) -> bool:
        """Whether the timesteps were found for the model, whatever the first one is."""
        return self.span.timesteps in self.config.optimised

    def _bounded(self, t: float, dtype: torch.dtype) -> Tensor:
        """Return alphas_cumprod, bounded so that one can divide by it and by 1 minus it."""
        return self.alpha_cumprod(t).to(dtype).clamp(SMALLEST_ALPHA_CUMPROD, 1 - 1e-7)

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
        del evaluation  # before the next call: each copy of a large image counts
