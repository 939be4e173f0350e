"""Projections onto a linear measurement, without a host."""

import pytest
import torch
from comfyui_unconditional.schedulers.restoration import (
    Blocks,
    Measurement,
    WeightedChannels,
)

LUMINANCE = WeightedChannels((0.299, 0.587, 0.114))
OPERATORS = [Blocks(1), Blocks(2), Blocks(4), Blocks(7), LUMINANCE]
SIZES = [(8, 8), (12, 20), (9, 13), (1, 5)]


def _images(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_measuring_what_was_put_back_gives_the_measurement(operator, size):
    y = operator.measure(_images(2, *size))
    assert (operator.measure(operator.back(y, *size)) - y).abs().max() < 1e-6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_projected_image_is_the_nearest_with_the_measurement(operator, size):
    x, true = _images(3, *size), _images(3, *size, seed=1)
    measurement = Measurement(operator, operator.measure(true))
    nearest = measurement.project(x)
    assert measurement.residual(nearest).abs().max() < 1e-5
    # The line from the nearest point of a plane to x is orthogonal to the plane.
    along = measurement.project(_images(3, *size, seed=2)) - true
    assert ((x - nearest) * along).sum().abs() < 1e-5 * x.norm() * (1 + along.norm())


def test_where_nothing_is_known_an_image_stays_unchanged():
    x, true = _images(2, 8, 8), _images(2, 8, 8, seed=1)
    known = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    known[..., 0] = True
    projected = Measurement(Blocks(4), Blocks(4).measure(true), known).project(x)
    assert torch.equal(projected[..., 4:], x[..., 4:])
    apart = Blocks(4).measure(projected - true)
    assert apart[..., 0].abs().max() < 1e-6 < apart[..., 1].abs().max()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_measurements_of_a_batch_are_used_in_turn(count):
    y = Blocks(2).measure(_images(2, 8, 8))
    projected = Measurement(Blocks(2), y).project(_images(count, 8, 8, seed=1))
    for k, image in enumerate(projected):
        assert (Blocks(2).measure(image[None]) - y[k % 2]).abs().max() < 1e-5


@pytest.mark.parametrize("operator", OPERATORS[1:])
def test_a_finished_picture_has_the_measurement_even_after_saving(operator):
    true = _images(2, 12, 20).clamp(-1, 1)
    measurement = Measurement(operator, operator.measure(true))
    finished = measurement.project_into_range(true + 0.2 * _images(2, 12, 20, seed=1))
    assert measurement.residual(finished).abs().max() < 1e-5
    assert measurement.residual(finished.clamp(-1, 1)).abs().max() < 2 / 255
