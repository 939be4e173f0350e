"""Inversion: from an image to the noise that gives it, and exactly back (BDIA, DDIM).

BDIA (Zhang, Lewis & Kleijn 2023, arXiv 2307.10829) averages, in each step, DDIM's step from this
time to the next and its step back to the previous one. One equation relates the three states of a
step. It is linear in the first and the last, so each follows from the other two and one evaluation:
the path from the image to the noise is exactly the path back.

    x_{i-1} = DDIM(x_i, t_i -> t_{i-1}) + gamma (x_{i+1} - DDIM(x_i, t_i -> t_{i+1}))

A run needs the last two states, x_N and x_{N-1}. The second is kept as its difference from DDIM's
step from the first, the ``rest``, which is 0 for random noise. So rests can be mixed like noise.

The times of the steps are t_1 < ... < t_N, and x_0 is the image, at the end of the span.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from .errors import ScheduleError
from .prediction import to_eps, to_x0_eps
from .sampler import Evaluation, Model, Noise, Sampling, ScheduleSampler
from .timesteps import END


@dataclass(frozen=True, eq=False)
class _Deterministic(ScheduleSampler):
    """What inversion and drawing share: DDIM's steps, in both directions.

    The predicted image is never clipped, because clipping cannot be inverted. ``set_alpha_to_one``
    defaults to True, as for ``DDIM``.
    """

    PRECISE = True

    @cached_property
    def _levels(self) -> list[Tensor]:
        """alphas_cumprod at x_0 .. x_N, 0-d each."""
        end, table = self.span.end, self._alphas_cumprod
        final = table[0] if self.config.set_alpha_to_one is False else self._one
        first = final if end == END else table[end]
        return [first, *(self._bounded(t, self.dtype) for t in self._times)]

    @property
    def _times(self) -> tuple[int, ...]:
        """t_1 .. t_N."""
        return self.span.timesteps[::-1]

    def _evaluate(self, model: Model, x: Tensor, i: int) -> Evaluation:
        """Call the model at t_i, with i = 1 .. N."""
        t, a = self._times[i - 1], self._levels[i]
        output = model(x, t)[:, : x.shape[1]]
        x0, _ = to_x0_eps(output, x, a, self.config.prediction_type)
        return Evaluation(t, x, output, x0)

    def _eps(self, evaluation: Evaluation, i: int) -> Tensor:
        """Return the noise that an evaluation at t_i predicts."""
        kind = self.config.prediction_type
        return to_eps(evaluation.output, evaluation.x_t, self._levels[i], kind)

    def _step(self, x: Tensor, eps: Tensor, i: int, j: int) -> Tensor:
        """Return DDIM's step from x_i to the level of x_j, along a given noise.

        Song et al. 2021, eq. 12 with sigma_t = 0, in both directions.
        """
        a, b = self._levels[i], self._levels[j]
        return (b / a).sqrt() * (x - (1 - a).sqrt() * eps) + (1 - b).sqrt() * eps


@dataclass(frozen=True, eq=False)
class DDIMInversion(_Deterministic):
    """From image to noise with DDIM's steps backwards; N evaluations.

    Each step uses the noise that the model predicts at its beginning, but drawing uses the noise at
    its end. So drawing gives the image back only approximately.
    """

    @property
    def settings(self) -> dict[str, Any]:
        return {"inversion": "DDIM"}

    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        """Invert images x_0, shape (B, C, H, W), and return x_N."""
        for i in range(1, len(self._levels)):
            # x_{i-1} evaluated at t_i: its own time may be the data's, for which no model was
            # trained.
            evaluation = self._evaluate(model, x, i)
            yield evaluation
            x = self._step(x, self._eps(evaluation, i), i - 1, i)
        return x


@dataclass(frozen=True, eq=False)
class BDIAInversion(_Deterministic):
    """From image to noise, exactly; N + 1 evaluations, the last one for the rest.

    Attributes:
        gamma: 0..1, above 0. 1 is symmetric in time. Below 1, a difference between two neighbouring
            states grows by 1 / gamma with each step, and shrinks by as much on the way back.

    Raises:
        ScheduleError: ``gamma`` is not in this range.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        check_gamma(self.gamma)

    @property
    def settings(self) -> dict[str, Any]:
        return {"inversion": "BDIA", "gamma": self.gamma}

    @property
    def evaluations(self) -> int:
        return len(self._times) + 1

    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        """Invert images x_0, shape (B, C, H, W), and return x_N.

        ``rest`` returns the other half, from the last two evaluations.
        """
        N = len(self._times)

        # The first step is DDIM's, along the noise that the image has at t_1.
        evaluation = self._evaluate(model, x, 1)
        yield evaluation
        before, x = x, self._step(x, self._eps(evaluation, 1), 0, 1)

        # x_{i+1} from x_i and x_{i-1}: the update of BDIA, solved for it.
        for i in range(1, N):
            evaluation = self._evaluate(model, x, i)
            yield evaluation
            eps = self._eps(evaluation, i)
            up, down = self._step(x, eps, i, i + 1), self._step(x, eps, i, i - 1)
            before, x = x, up + (before - down) / self.gamma

        yield self._evaluate(model, x, N)
        return x

    def rest(self, before: Evaluation, last: Evaluation) -> Tensor:
        """Return the difference of x_{N-1} from DDIM's step from x_N; shape (B, C, H, W).

        Args:
            before, last: the last two evaluations of a run.
        """
        N = len(self._times)
        return before.x_t - self._step(last.x_t, self._eps(last, N), N, N - 1)


@dataclass(frozen=True, eq=False)
class BDIA(_Deterministic):
    """From noise to image; N evaluations. With ``BDIAInversion``'s rest, exactly its image.

    Attributes:
        gamma: the same as for the inversion.
        states: x_N and the rest, shape (B, 2C, H, W), in their original precision; None: x_N is the
            input of ``sample``, and the rest is 0.

    Raises:
        ScheduleError: ``gamma`` is not above 0 and at most 1.
    """

    gamma: float = 1.0
    states: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_gamma(self.gamma)

    @property
    def settings(self) -> dict[str, Any]:
        return {"sampler": "BDIA", "gamma": self.gamma}

    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        N = len(self._times)

        rest: Tensor | float = 0.0
        if self.states is not None:
            x, rest = self.states.to(x).chunk(2, dim=1)
        evaluation = self._evaluate(model, x, N)
        yield evaluation
        before, x = x, self._step(x, self._eps(evaluation, N), N, N - 1) + rest

        # x_{i-1} from x_i and x_{i+1}: the update of BDIA.
        for i in range(N - 1, 0, -1):
            evaluation = self._evaluate(model, x, i)
            yield evaluation
            eps = self._eps(evaluation, i)
            up, down = self._step(x, eps, i, i + 1), self._step(x, eps, i, i - 1)
            before, x = x, down + self.gamma * (before - up)
        return x


def check_gamma(gamma: float) -> None:
    """Raise ``ScheduleError`` unless 0 < ``gamma`` <= 1."""
    if not 0 < gamma <= 1:
        raise ScheduleError(f"gamma must be above 0 and at most 1, not {gamma}.")
