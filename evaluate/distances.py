"""Distances between two sets of images, from their features, computed in float64."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

NEIGHBOURS = 3
_VALUES = 2**24
"""Maximum number of values in a matrix of all pairs."""


@dataclass(frozen=True)
class Gaussian:
    """The part of a set that the Fréchet distance needs."""

    mean: Tensor
    """Shape (d,), float64."""
    covariance: Tensor
    """Shape (d, d), float64, with n - 1 in the denominator."""

    @classmethod
    def of(cls, features: Tensor) -> "Gaussian":
        """Fit a Gaussian to features, shape (n, d)."""
        features = features.double()
        return cls(features.mean(0), torch.cov(features.T))


def frechet(a: Gaussian, b: Gaussian) -> float:
    """Return the Fréchet distance of two Gaussians (Heusel et al. 2017), with Inception the FID."""
    # The trace of (AB)^(1/2) is that of (A^(1/2) B A^(1/2))^(1/2), which is symmetric.
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    found = apart + a.covariance.trace() + b.covariance.trace() - 2 * shared
    return max(found.item(), 0.0)  # of equal sets, rounding may leave less


@dataclass(frozen=True)
class Points:
    """A set's features. Quantities that depend on this set alone are computed once."""

    features: Tensor
    """Shape (n, d), float64."""

    @classmethod
    def of(cls, features: Tensor) -> "Points":
        """Take features of any dtype, shape (n, d)."""
        return cls(features.double())

    @cached_property
    def gaussian(self) -> Gaussian:
        """The Gaussian fitted to them."""
        return Gaussian.of(self.features)

    @cached_property
    def own_kernel(self) -> Tensor:
        """The mean of the kernel over all pairs of different images, 0-d."""
        x, n = self.features, len(self.features)
        own = _kernel(x.square().sum(1), x.shape[1]).sum()
        return (_kernel_sum(x, x) - own) / (n * (n - 1))

    @cached_property
    def radii(self) -> Tensor:
        """The squared distance of each image to its third nearest neighbour, shape (n,)."""
        x = self.features
        return _rows(x, x, lambda row: row.kthvalue(NEIGHBOURS + 1).values)  # itself is one


def kernel_distance(a: Points, b: Points) -> float:
    """Return the unbiased kernel distance, KID (Bińkowski et al. 2018); may be below 0.

    All pairs of images are used, not random subsets.
    """
    x, y = a.features, b.features
    between = _kernel_sum(x, y) / (len(x) * len(y))
    return (a.own_kernel + b.own_kernel - 2 * between).item()


def precision_recall(drawn: Points, real: Points) -> tuple[float, float]:
    """Return precision and recall (Kynkäänniemi et al. 2019), with three neighbours.

    Precision is the share of generated images that are no farther from some real image than its
    third nearest real neighbour; recall is the same with both sets exchanged. Both sets have more
    than three images.
    """
    return _covered(drawn, real), _covered(real, drawn)


def _kernel(products: Tensor, d: int) -> Tensor:
    return (products / d + 1) ** 3


def _kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    sums = [_kernel(part @ y.T, x.shape[1]).sum() for part in _parts(x, len(y))]
    return torch.stack(sums).sum()


def _covered(images: Points, others: Points) -> float:
    """Return the share of images within the radius of any of the others."""
    radii = others.radii
    inside = _rows(images.features, others.features, lambda row: (row <= radii).any(1))
    return inside.double().mean().item()


def _rows(x: Tensor, y: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function to the squared distances of some x to all y, and join the results."""
    squares = y.square().sum(1)
    found = []
    for part in _parts(x, len(y)):
        distances = part.square().sum(1, keepdim=True) + squares - 2 * part @ y.T
        found.append(of(distances))
    return torch.cat(found)


def _parts(x: Tensor, columns: int) -> Iterator[Tensor]:
    yield from x.split(max(1, _VALUES // columns))
