"""Distances between two sets of images, from their features. All is computed in float64."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 3
_VALUES = 2**24
"""Numbers in a matrix of all pairs, at most."""


@dataclass(frozen=True)
class Gaussian:
    """What the Fréchet distance needs of a set."""

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


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Return the unbiased kernel distance, KID (Bińkowski et al. 2018); may be below 0.

    Args:
        a, b: features, shapes (n, d) and (m, d). All pairs are used, not random subsets.
    """
    a, b = a.double(), b.double()

    def kernel(products: Tensor) -> Tensor:
        return (products / a.shape[1] + 1) ** 3

    def total(x: Tensor, y: Tensor) -> Tensor:
        return sum(
            (kernel(part @ y.T).sum() for part in _parts(x, len(y))), torch.zeros((), dtype=x.dtype)
        )

    def among(x: Tensor) -> Tensor:
        n = len(x)
        return (total(x, x) - kernel(x.square().sum(1)).sum()) / (n * (n - 1))

    return (among(a) + among(b) - 2 * total(a, b) / (len(a) * len(b))).item()


def precision_recall(drawn: Tensor, real: Tensor) -> tuple[float, float]:
    """Return precision and recall (Kynkäänniemi et al. 2019), with three neighbours.

    Precision is the share of drawn images that are nearer to a real one than that one's third
    nearest real neighbour; recall is the same with drawn and real exchanged.

    Args:
        drawn, real: features, shapes (n, d) and (m, d), with n and m above 3.
    """
    drawn, real = drawn.double(), real.double()
    return _covered(drawn, real), _covered(real, drawn)


def _covered(images: Tensor, others: Tensor) -> float:
    """Return the share of images within the radius of any of the others."""
    radii = _rows(others, others, lambda row: row.kthvalue(NEIGHBOURS + 1).values)  # itself is one
    return _rows(images, others, lambda row: (row <= radii).any(1).double()).mean().item()


def _rows(x: Tensor, y: Tensor, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function to the squared distances of some x to all y, and join what it returns."""
    squares = y.square().sum(1)
    found = []
    for part in _parts(x, len(y)):
        distances = part.square().sum(1, keepdim=True) + squares - 2 * part @ y.T
        found.append(of(distances))
    return torch.cat(found)


def _parts(x: Tensor, columns: int) -> Iterator[Tensor]:
    yield from x.split(max(1, _VALUES // columns))
