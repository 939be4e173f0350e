"""Steering: the predicted image moves along the gradient of a score.

Classifier guidance (Dhariwal & Nichol 2021, arXiv 2105.05233, Algorithm 2) changes the predicted
noise to eps - sqrt(1 - a) grad log p(y | x_t), with the gradient by x_t and a = alphas_cumprod[t].
With x = x_t / sqrt(a) = x0 + sigma eps and sigma^2 = (1 - a) / a the predicted image becomes

    x0 + sigma^2 grad log p(y | x),  the gradient by x                               (by the input)

where p(y | x) comes from a classifier that sees noise, or from one for images that is given x0,
with the gradient back through the network. That gradient is J^T times the one by x0, and sigma^2 J,
with J = dx0 / dx, is the covariance of the images that x may be of. For independent pixels of
variance 1 it is sigma^2 / (1 + sigma^2) = 1 - a, so that without the network it is

    x0 + (1 - a) grad log p(y | x0), the gradient by x0                              (by the image)
"""

from torch import Tensor


def moved_by_input(x0: Tensor, gradient: Tensor, sigma: Tensor, weight: float) -> Tensor:
    """Return predicted images that are moved along the gradient by the network's input.

    Args:
        x0: predicted images, shape (B, C, H, W).
        gradient: of log p by x = x0 + sigma eps, shape (B, C, H, W).
        sigma: noise level of each image, shape (B,).
        weight: 1 is the guidance of the paper.
    """
    return x0 + weight * _column(sigma) ** 2 * gradient


def moved_by_image(x0: Tensor, gradient: Tensor, sigma: Tensor, weight: float) -> Tensor:
    """Return predicted images that are moved along the gradient by themselves.

    Args:
        x0, sigma, weight: as for ``moved_by_input``.
        gradient: of log p by x0, shape (B, C, H, W).
    """
    variance = _column(sigma) ** 2
    return x0 + weight * variance / (1 + variance) * gradient


def _column(sigma: Tensor) -> Tensor:
    return sigma[:, None, None, None]
