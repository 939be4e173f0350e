"""How fast each method's error decreases with the number of steps, on data with a known solution.

The data are a mixture of Gaussians, whose expected noise is known in closed form. Everything is
float64 and continuous in time, so all errors come from the method.
"""

import math
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

STEPS = (80, 160, 320, 640)
METHODS = ("DDIM", "S-PNDM", "F-PNDM", "PLMS", "iPNDM_v", "FON")
SMOOTH_END, LATE_END = 0.05, 0.001
"""Where a run ends, in units of T: where eps is still smooth in time, and near the data."""

_POINTS = 64
_TOLERANCE = 1e-12
# Three clusters of unequal weight in the plane.
_MEANS = torch.tensor([[-1.0, -0.5], [0.2, 0.9], [1.0, -0.4]], dtype=torch.float64)
_WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
_STD = 0.3
# The betas of the linear schedule, 1e-4 and 0.02 in each of 1000 steps, as rates over all of T.
_FIRST_RATE, _LAST_RATE = 0.1, 20.0


def expected_eps(x: Tensor, a: Tensor) -> Tensor:
    """Return the expected noise in x_t, -sqrt(1 - a) times the gradient of ln p_t.

    Args:
        x: shape (B, 2), float64.
        a: alphas_cumprod at its time, 0-d.
    """
    variance = a * _STD**2 + 1 - a
    away = x[:, None] - a.sqrt() * _MEANS  # (B, clusters, 2)
    shares = torch.softmax(_WEIGHTS.log() - away.square().sum(-1) / (2 * variance), dim=1)
    return (1 - a).sqrt() / variance * (shares[..., None] * away).sum(1)


def alpha_cumprod(s: float) -> Tensor:
    """Return alphas_cumprod of the linear schedule at the time ``s``, 0..1 for 0..T."""
    exponent = _FIRST_RATE * s + (_LAST_RATE - _FIRST_RATE) * s * s / 2
    return torch.tensor(math.exp(-exponent), dtype=torch.float64)


def log_slope(s: float) -> Tensor:
    """Return the derivative of ln alphas_cumprod."""
    rate = _FIRST_RATE + (_LAST_RATE - _FIRST_RATE) * s
    return torch.tensor(-rate, dtype=torch.float64)


@dataclass(frozen=True)
class _Grid:
    """N = ``steps`` steps from T to ``stop`` T; the time k counts the remaining steps.

    They are equal, or become shorter like those of the spacing "power".
    """

    steps: int
    stop: float
    power: float = 1.0
    end: int = 0
    converts_each_evaluation: bool = True

    @property
    def timesteps(self) -> tuple[int, ...]:
        return tuple(range(self.steps, 0, -1))

    def alpha_cumprod(self, t: float) -> Tensor:
        return alpha_cumprod(self.clock(t))

    def log_slope(self, t: float) -> Tensor:
        return log_slope(self.clock(t))

    def model_time(self, t: float) -> float:
        return t

    def midpoint(self, t: int, t_prev: int) -> tuple[float, float]:
        middle = (t + t_prev) / 2
        return middle, middle

    def evaluates_at(self, t_prev: int) -> bool:
        return True

    def clock(self, t: float) -> float:
        return self.stop + (1 - self.stop) * (t / self.steps) ** self.power


@dataclass(frozen=True, kw_only=True)
class _OnGrid(PNDM):
    grid: _Grid  # type: ignore[assignment]


def true_end(x: Tensor, stop: float) -> Tensor:
    """Solve the probability flow from T to ``stop`` T for each point of (B, 2), float64."""

    def flow(s: float, flat: np.ndarray) -> np.ndarray:
        x, a = torch.from_numpy(flat)[None], alpha_cumprod(s)
        return derivative(x, expected_eps(x, a), a, log_slope(s))[0].numpy()

    ends = []
    for point in x:
        solution = solve_ivp(
            flow, (1, stop), point.numpy(), method="DOP853", rtol=_TOLERANCE, atol=_TOLERANCE
        )
        assert solution.success, solution.message
        ends.append(torch.from_numpy(solution.y[:, -1]))
    return torch.stack(ends)


def run(method: str, x: Tensor, steps: int, stop: float, power: float = 1.0) -> Tensor:
    """Return x after N = ``steps`` steps of a method; shapes as in ``true_end``."""
    grid = _Grid(steps, stop, power)

    def model(x: Tensor, t: float) -> Tensor:
        return expected_eps(x, grid.alpha_cumprod(t))

    if method != "DDIM":
        name: Method = method  # type: ignore[assignment]
        sampler = _OnGrid(SchedulerConfig(), Span(grid.timesteps, grid.end), name, grid=grid)
        return drain(sampler.sample(model, x, lambda: x))
    for t, t_prev in step_pairs(grid.timesteps, grid.end):
        x = transfer(x, model(x, t), grid.alpha_cumprod(t), grid.alpha_cumprod(t_prev))
    return x


def measure(stop: float, power: float = 1.0) -> dict[str, tuple[float, ...]]:
    """Return the root mean square errors of each method at ``stop`` T, for each of ``STEPS``.

    With ``power`` above 1 the steps become shorter, as in the spacing of that name.
    """
    g = torch.Generator().manual_seed(0)
    x = torch.randn(_POINTS, 2, generator=g, dtype=torch.float64)
    truth = true_end(x, stop)
    return {
        method: tuple(
            (run(method, x, n, stop, power) - truth).square().mean().sqrt().item() for n in STEPS
        )
        for method in METHODS
    }


def order(errors: tuple[float, ...]) -> float:
    """Return the exponent p of the error, which decreases like h^p with the step length h."""
    slope, _ = np.polyfit(np.log(STEPS), np.log(errors), 1)
    return -float(slope)
