"""Steering on Gaussians, for which the steered images are known exactly."""

import torch
from comfyui_unconditional.schedulers.steering import moved_by_image, moved_by_input
from torch import Tensor

VALUE, SPREAD = 1.5, 20.0
"""What is asked for: a pixel that is measured as VALUE, with noise of this standard deviation."""


def pixels() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x of standard normal pixels, its noise levels, and the pixels' mean and variance given x."""
    x = torch.linspace(-3, 3, 4, dtype=torch.float64).reshape(4, 1, 1, 1)
    sigma = torch.tensor([0.1, 1.0, 5.0, 80.0], dtype=torch.float64)
    variance = sigma**2 / (1 + sigma**2)
    return x, sigma, x / (1 + sigma**2).reshape(4, 1, 1, 1), variance.reshape(4, 1, 1, 1)


def asked_for(mean: Tensor, variance: Tensor) -> Tensor:
    """The mean of the pixels when the measurement is known too."""
    return mean + variance / (variance + SPREAD**2) * (VALUE - mean)


def test_the_gradient_by_the_noisy_image_gives_the_requested_images():
    x, sigma, mean, variance = pixels()
    x.requires_grad_()
    predicted = x / (1 + sigma**2).reshape(4, 1, 1, 1)
    log_p = -0.5 * (VALUE - predicted) ** 2 / (variance + SPREAD**2)
    (gradient,) = torch.autograd.grad(log_p.sum(), x)
    moved = moved_by_input(mean, gradient, sigma, 1.0)
    torch.testing.assert_close(moved, asked_for(mean, variance))


def test_the_gradient_by_the_predicted_image_gives_nearly_the_same():
    _, sigma, mean, variance = pixels()
    gradient = (VALUE - mean) / SPREAD**2
    moved = moved_by_image(mean, gradient, sigma, 1.0)
    torch.testing.assert_close(moved, asked_for(mean, variance), rtol=0, atol=2e-5)
    assert (moved - mean).abs().min() > 2e-5
