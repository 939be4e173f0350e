"""Data whose expected noise is known in closed form: a mixture of Gaussians."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Gaussians with equal standard deviations in C dimensions.

    Attributes:
        means: shape (K, C).
        weights: shape (K,), summing to 1.
        std: of each Gaussian in each dimension.
    """

    means: Tensor
    weights: Tensor
    std: float

    def eps(self, x: Tensor, a: Tensor) -> Tensor:
        """Return the expected noise in x_t, -sqrt(1 - a) times the gradient of ln p_t.

        Args:
            x: shape (B, C).
            a: alphas_cumprod at its time, 0-d.
        """
        variance = a * self.std**2 + 1 - a
        away = x[:, None] - a.sqrt() * self.means  # (B, K, C)
        logits = self.weights.log() - away.square().sum(-1) / (2 * variance)
        shares = torch.softmax(logits, dim=1)
        return (1 - a).sqrt() / variance * (shares[..., None] * away).sum(1)


def three_clusters() -> Mixture:
    """Return three clusters of unequal weight in the plane, float64."""
    means = torch.tensor([[-1.0, -0.5], [0.2, 0.9], [1.0, -0.4]], dtype=torch.float64)
    return Mixture(means, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), std=0.3)
