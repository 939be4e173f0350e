"""The order of each method, on data with a known answer."""

from collections.abc import Callable

import pytest
import torch

from benchmarks.quality import convergence
from benchmarks.quality.convergence import SMOOTH_END, ContinuousGrid, alpha_cumprod, log_slope


@pytest.fixture(scope="module")
def orders() -> dict[str, float]:
    return {found.method: found.order for found in convergence.measure(SMOOTH_END)}


@pytest.mark.parametrize(
    ("method", "least", "most"),
    [
        ("DDIM", 0.9, 1.1),
        ("S-PNDM", 1.9, 3),
        ("F-PNDM", 1.85, 5),
        ("PLMS", 1.85, 5),
        ("FON", 3.5, 5),
    ],
)
def test_each_method_converges_with_the_order_that_theory_gives_it(
    method: str, least: float, most: float, orders: dict[str, float]
) -> None:
    assert least <= orders[method] <= most


def test_the_true_end_does_not_depend_on_the_tolerance_of_its_solver(
    monkeypatch: pytest.MonkeyPatch, figure: Callable[[str, float, float], None]
) -> None:
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mixture = convergence.three_clusters()
    usual = convergence.true_end(mixture, x, convergence.LATE_END)
    monkeypatch.setattr(convergence, "_TOLERANCE", 1e-13)
    finer = convergence.true_end(mixture, x, convergence.LATE_END)
    figure("true end of the probability flow", (usual - finer).abs().max().item(), 1e-10)


def test_the_mixtures_noise_is_the_gradient_of_its_density() -> None:
    mixture, a = convergence.three_clusters(), alpha_cumprod(0.3)
    x = torch.tensor([[0.1, -0.4], [1.2, 0.3]], dtype=torch.float64, requires_grad=True)
    variance = a * mixture.std**2 + 1 - a
    away = x[:, None] - a.sqrt() * mixture.means
    density = (mixture.weights * (-away.square().sum(-1) / 2 / variance).exp()).sum(1)
    (gradient,) = torch.autograd.grad(density.log().sum(), x)
    torch.testing.assert_close(mixture.eps(x.detach(), a), -(1 - a).sqrt() * gradient)


def test_the_continuous_grid_goes_from_noise_to_its_end_at_an_even_pace() -> None:
    grid = ContinuousGrid(10, 0.05)
    assert grid.timesteps[0] == 10
    assert grid.clock(10) == 1
    assert grid.clock(grid.end) == 0.05
    h = 1e-6
    numeric = (alpha_cumprod(0.4 + h).log() - alpha_cumprod(0.4 - h).log()) / (2 * h)
    torch.testing.assert_close(log_slope(0.4), numeric, atol=1e-6, rtol=0)
