"""The distance of generated digits from real ones, in the features of `evaluate`."""

from functools import cache

import numpy as np
import torch
from comfyui_unconditional.evaluate.distances import Points, frechet, kernel_distance
from comfyui_unconditional.evaluate.features import DigitFeatures
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.sky import to_bytes
from torch import Tensor


def features_of(images: Tensor) -> Tensor:
    """Return features of images as they would be saved: (n, 1, 16, 16) -> (n, 32), float64."""
    return DigitFeatures()(to_bytes(images))


@cache
def real_features() -> Tensor:
    """Return the features of the 1,797 real digits, float64, shape (1797, 32)."""
    return features_of(digits()[0])


def distances(features: Tensor, real: Tensor) -> dict[str, float]:
    """Return both distances between two sets of features."""
    a, b = Points.of(features), Points.of(real)
    return {"frechet": frechet(a.gaussian, b.gaussian), "kid": kernel_distance(a, b)}


def floor() -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of both distances, for 20 random halves of real digits."""
    real, g = real_features(), torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(real), generator=g)[: len(real) // 2 * 2] for _ in range(20)]
    found = [distances(*(real[half] for half in order.chunk(2))) for order in orders]
    values = {name: [each[name] for each in found] for name in found[0]}
    return {name: (float(np.mean(v)), float(np.std(v, ddof=1))) for name, v in values.items()}
