"""How fast each method's error decreases with the number of steps, on data with a known solution.

Everything is float64 and continuous in time, so all errors come from the method.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.pndm import PNDM, Method
from comfyui_unconditional.schedulers.probability_flow import derivative
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Span
from comfyui_unconditional.schedulers.timesteps import step_pairs
from comfyui_unconditional.schedulers.transfer import transfer
from scipy.integrate import solve_ivp
from torch import Tensor

from .mixture import Mixture, three_clusters

STEPS = (80, 160, 320, 640)
METHODS = ("DDIM", "S-PNDM", "F-PNDM", "PLMS", "FON")
POINTS = 64
SMOOTH_END, LATE_END = 0.05, 0.001
"""Where a run ends, in units of T: where eps is still smooth in time, and near the data."""

# The betas of the linear schedule, 1e-4 and 0.02 in each of 1000 steps, as rates over all of T.
_FIRST_RATE, _LAST_RATE = 0.1, 20.0
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class ContinuousGrid:
    """N equal steps from T to ``stop`` T; the time k counts the remaining steps.

    Attributes:
        steps: N.
        stop: in units of T.
    """

    steps: int
    stop: float
    end: int = 0
    converts_each_evaluation: bool = True

    @property
    def timesteps(self) -> tuple[int, ...]:
        return tuple(range(self.steps, 0, -1))

    @property
    def table(self) -> Tensor:
        """alphas_cumprod at the end of each step; not used by the methods here."""
        return torch.stack([self.alpha_cumprod(k) for k in range(self.steps)])

    def alpha_cumprod(self, t: float) -> Tensor:
        return alpha_cumprod(self.clock(t))

    def model_time(self, t: float) -> float:
        return t

    def midpoint(self, t: int, t_prev: int) -> tuple[float, float]:
        middle = (t + t_prev) / 2
        return middle, middle

    def evaluates_at(self, t_prev: int) -> bool:
        return True

    def clock(self, t: float) -> float:
        return self.stop + (1 - self.stop) * t / self.steps

    def log_slope(self, t: float) -> Tensor:
        return log_slope(self.clock(t))


def alpha_cumprod(s: float) -> Tensor:
    """Return alphas_cumprod of the linear schedule at the time ``s``, 0..1 for 0..T."""
    exponent = _FIRST_RATE * s + (_LAST_RATE - _FIRST_RATE) * s * s / 2
    return torch.tensor(math.exp(-exponent), dtype=torch.float64)


def log_slope(s: float) -> Tensor:
    """Return the derivative of ln alphas_cumprod."""
    rate = _FIRST_RATE + (_LAST_RATE - _FIRST_RATE) * s
    return torch.tensor(-rate, dtype=torch.float64)


def true_end(mixture: Mixture, x: Tensor, stop: float) -> Tensor:
    """Solve the probability flow from T to ``stop`` T, for each point separately.

    Args:
        mixture: the data.
        x: shape (B, C), float64, at T.
        stop: in units of T.
    """

    def flow(s: float, flat: np.ndarray) -> np.ndarray:
        x, a = torch.from_numpy(flat)[None], alpha_cumprod(s)
        return derivative(x, mixture.eps(x, a), a, log_slope(s))[0].numpy()

    ends = []
    for point in x:
        solution = solve_ivp(
            flow, (1, stop), point.numpy(), method="DOP853", rtol=_TOLERANCE, atol=_TOLERANCE
        )
        assert solution.success, solution.message
        ends.append(torch.from_numpy(solution.y[:, -1]))
    return torch.stack(ends)


@dataclass(frozen=True, kw_only=True)
class OnGrid(PNDM):
    """PNDM on a grid of its own."""

    grid: ContinuousGrid  # type: ignore[assignment]


def run(method: str, mixture: Mixture, x: Tensor, steps: int, stop: float) -> Tensor:
    """Return x after N = ``steps`` steps of a method; shapes as in ``true_end``."""
    grid = ContinuousGrid(steps, stop)

    def model(x: Tensor, t: float) -> Tensor:
        return mixture.eps(x, grid.alpha_cumprod(t))

    if method != "DDIM":
        name: Method = method  # type: ignore[assignment]
        sampler = OnGrid(SchedulerConfig(), Span(grid.timesteps, grid.end), name, grid=grid)
        return drain(sampler.sample(model, x, lambda: x))
    for t, t_prev in step_pairs(grid.timesteps, grid.end):
        x = transfer(x, model(x, t), grid.alpha_cumprod(t), grid.alpha_cumprod(t_prev))
    return x


@dataclass(frozen=True)
class Convergence:
    """The root mean square errors of one method, for each of ``steps``."""

    method: str
    stop: float
    steps: tuple[int, ...]
    errors: tuple[float, ...]

    @property
    def order(self) -> float:
        """The exponent p of the error, which decreases like h^p with the step length h."""
        slope, _ = np.polyfit(np.log(self.steps), np.log(self.errors), 1)
        return -float(slope)


def measure(
    stop: float, methods: Sequence[str] = METHODS, steps: Sequence[int] = STEPS
) -> list[Convergence]:
    """Return the errors of each method at the time ``stop`` T."""
    mixture = three_clusters()
    g = torch.Generator().manual_seed(0)
    x = torch.randn(POINTS, 2, generator=g, dtype=torch.float64)
    truth = true_end(mixture, x, stop)
    return [
        Convergence(
            method,
            stop,
            tuple(steps),
            tuple(
                (run(method, mixture, x, n, stop) - truth).square().mean().sqrt().item()
                for n in steps
            ),
        )
        for method in methods
    ]
