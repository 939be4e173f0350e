"""ERA-Solver: an error-robust Adams solver (Li et al. 2023, arXiv 2301.12935), to compare with."""

from dataclasses import dataclass
from typing import Any

from comfyui_unconditional.schedulers.prediction import to_x0_eps
from comfyui_unconditional.schedulers.sampler import (
    Evaluation,
    Model,
    Noise,
    Sampling,
    ScheduleSampler,
)
from comfyui_unconditional.schedulers.timesteps import END, step_pairs
from comfyui_unconditional.schedulers.transfer import transfer
from torch import Tensor

_IMPLICIT_ADAMS = (9 / 24, 19 / 24, -5 / 24, 1 / 24)


@dataclass(frozen=True)
class ERASolver(ScheduleSampler):
    """DDIM's transfer with the noise of an implicit Adams method, one evaluation for each step.

    The noise at the end of the step is predicted by a polynomial through earlier evaluations. The
    more the last prediction was wrong, the earlier those that are chosen for it.

    Attributes:
        points: k, the number of evaluations that the polynomial goes through.
        tolerance: lambda, the error (root mean square) at which the choice is even.
    """

    points: int = 4
    tolerance: float = 0.3

    @property
    def settings(self) -> dict[str, Any]:
        return {"sampler": "ERA-Solver", "points": self.points, "tolerance": self.tolerance}

    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        alphas_cumprod = self._alphas_cumprod
        times: list[int] = []
        history: list[Tensor] = []
        predicted: Tensor | None = None
        for t, t_prev in step_pairs(self.span.timesteps, self.span.end):
            output = model(x, t)[:, : x.shape[1]]
            a = alphas_cumprod[t]
            x0, eps = to_x0_eps(output, x, a, self.config.prediction_type)
            yield Evaluation(t, x, output, x0)
            times.append(t)
            history.append(eps)
            e = eps
            if len(history) >= max(self.points, 3):
                error = (
                    0.0 if predicted is None else (eps - predicted).square().mean().sqrt().item()
                )
                chosen = self._choose(len(history) - 1, error)
                predicted = _lagrange(
                    [times[n] for n in chosen], [history[n] for n in chosen], t_prev
                )
                newest = (predicted, *history[:-4:-1])
                e = sum(w * v for w, v in zip(_IMPLICIT_ADAMS, newest, strict=True))  # type: ignore[assignment]
            x = transfer(x, e, a, self._one if t_prev == END else alphas_cumprod[t_prev])
        return x

    def _choose(self, last: int, error: float) -> list[int]:
        """Return which evaluations the polynomial goes through, from the last one back."""
        chosen: list[int] = []
        for m in range(self.points - 1, -1, -1):
            share = m / (self.points - 1)
            wanted = int(share ** (error / self.tolerance) * last) if share else 0
            newest = chosen[-1] - 1 if chosen else last
            chosen.append(max(min(wanted, newest), m))
        return chosen


def _lagrange(times: list[int], values: list[Tensor], at: float) -> Tensor:
    total = None
    for own, value in zip(times, values, strict=True):
        weight = 1.0
        for other in times:
            if other != own:
                weight *= (at - other) / (own - other)
        total = weight * value if total is None else total + weight * value
    assert total is not None
    return total
