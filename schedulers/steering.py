"""Steering: the predicted image moves along the gradient of a score.

Classifier guidance (Dhariwal & Nichol 2021, arXiv 2105.05233, Algorithm 2) changes the predicted
noise to eps - sqrt(1 - a) grad log p(y | x_t), the gradient by x_t, with a = alphas_cumprod[t].
With x = x_t / sqrt(a) = x0 + sigma eps and sigma^2 = (1 - a) / a the predicted image becomes

    x0 + sigma^2 grad log p(y | x),  the gradient by x                               (by the input)

where p(y | x) comes from a classifier that sees noise, or from a classifier of images applied to
x0, with the gradient back through the network. That gradient is J^T times the one by x0, and
sigma^2 J, with J = dx0 / dx, is the covariance of the images that x may come from. For independent
pixels of variance 1 it is sigma^2 / (1 + sigma^2) = 1 - a, so without the network the image is

    x0 + (1 - a) grad log p(y | x0), the gradient by x0                              (by the image)
"""

from torch import Tensor


def moved_by_input(x0: Tensor, gradient: Tensor, sigma: Tensor, weight: float) -> Tensor:
    """Return predicted images, moved along the gradient with respect to the network's input.

    Args:
        x0: predicted images, shape (B, C, H, W).
        gradient: of log p by x = x0 + sigma eps, shape (B, C, H, W).
        sigma: noise level of each image, shape (B,).
        weight: 1 is the guidance of the paper.
    """
    return x0 + weight * _column(sigma) ** 2 * gradient


def moved_by_image(x0: Tensor, gradient: Tensor, sigma: Tensor, weight: float) -> Tensor:
    """Return predicted images, moved along the gradient with respect to themselves.

    Args:
        x0, sigma, weight: as for ``moved_by_input``.
        gradient: of log p by x0, shape (B, C, H, W).
    """
    variance = _column(sigma) ** 2
    return x0 + weight * variance / (1 + variance) * gradient


def _column(sigma: Tensor) -> Tensor:
    return sigma[:, None, None, None]
