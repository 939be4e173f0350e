"""Distances between two sets of images, in the feature space of a fixed classifier."""

from functools import cache

import numpy as np
import torch
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.judge import as_saved
from scipy.linalg import sqrtm
from torch import Tensor

from .features import load_classifier


def features_of(images: Tensor) -> Tensor:
    """Return features of images as they would be saved: (n, 1, 16, 16) -> (n, 32), float64.

    They are scaled by one number so that the mean variance over real digits is 1.
    """
    return _raw_features(images) / _raw_features(digits()[0]).var(0).mean().sqrt()


@cache
def real_features() -> Tensor:
    """Return the features of the 1,797 real digits, float64, shape (1797, 32)."""
    return features_of(digits()[0])


@torch.inference_mode()
def _raw_features(images: Tensor) -> Tensor:
    return load_classifier().features(as_saved(images)).double()


def frechet(a: Tensor, b: Tensor) -> float:
    """Return the Fréchet distance (Heusel et al. 2017) of Gaussians fitted to two sets.

    Args:
        a, b: features, float64, shapes (n, d) and (m, d).
    """
    covariances = [torch.cov(x.T).numpy() for x in (a, b)]
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    apart = (a.mean(0) - b.mean(0)).square().sum().item()
    return float(apart + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root))


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Return the unbiased kernel distance, KID (Bińkowski et al. 2018); may be below 0."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def among(x: Tensor) -> Tensor:
        n, k = len(x), kernel(x, x)
        return (k.sum() - k.trace()) / (n * (n - 1))

    return (among(a) + among(b) - 2 * kernel(a, b).mean()).item()


def floor() -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of both distances, for 20 random halves of real digits."""
    real, g = real_features(), torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(real), generator=g)[: len(real) // 2 * 2] for _ in range(20)]
    halves = [[real[half] for half in order.chunk(2)] for order in orders]
    found = {
        "frechet": [frechet(*pair) for pair in halves],
        "kid": [kernel_distance(*pair) for pair in halves],
    }
    return {name: (float(np.mean(v)), float(np.std(v, ddof=1))) for name, v in found.items()}
