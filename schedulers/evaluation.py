"""What every sampler has in common: the model that it calls, what it yields, who drains it.

A sampler is a generator. It yields one ``Evaluation`` for each call of the model and returns the
final x. All it remembers is local, so nothing survives a run.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from torch import Tensor

from .config import PredictionType
from .prediction import to_x0_eps

Model = Callable[[Tensor, float], Tensor]
"""(x_t of shape (B, C, H, W), t) -> prediction of shape (B, C, H, W), or (B, 2C, H, W) where the
second half is the learned variance."""

Noise = Callable[[], Tensor]
"""Draws fresh standard normal noise of shape (B, C, H, W)."""


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


def drain(sampling: Sampling, on_evaluation: Callable[[Evaluation], object] = id) -> Tensor:
    """Run a sampler to its end and return the final x; call ``on_evaluation`` as it goes."""
    while True:
        try:
            evaluation = next(sampling)
        except StopIteration as end:
            return end.value
        on_evaluation(evaluation)
