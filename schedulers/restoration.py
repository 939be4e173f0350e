"""Restoration: images with a known linear measurement y = A x (DDNM).

Each predicted image x0 is replaced by the nearest one that has the measurement,
x0 - A+ (A x0 - y), where A+ is the pseudo-inverse of A (Wang, Yu & Zhang 2023, arXiv 2212.00490,
eq. 13). Everything that the measurement leaves open comes from the model.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

# Usually leaves less than a step of 8 bits. The number is fixed, so an image does not depend on the
# others in its batch.
_ROUNDS = 50


class Linear(Protocol):
    """A linear map A of images whose pseudo-inverse A+ is known: A A+ A = A."""

    def measure(self, x: Tensor) -> Tensor:
        """Return A x for images of shape (B, C, H, W); shape (B, c, h, w)."""
        ...

    def back(self, y: Tensor, height: int, width: int) -> Tensor:
        """Return A+ y, images of shape (B, C, height, width)."""
        ...


@dataclass(frozen=True)
class Blocks:
    """The means of blocks of ``size`` x ``size`` pixels; with size 1 the pixels themselves.

    A+ fills each block with its mean. Blocks at the right and lower edges may be smaller.
    """

    size: int

    def measure(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.size, ceil_mode=True, count_include_pad=False)

    def back(self, y: Tensor, height: int, width: int) -> Tensor:
        whole = y.repeat_interleave(self.size, 2).repeat_interleave(self.size, 3)
        return whole[:, :, :height, :width]


@dataclass(frozen=True)
class WeightedChannels:
    """One weighted sum of the channels, for example the luminance; A+ y = w y / (w . w)."""

    weights: tuple[float, ...]

    def measure(self, x: Tensor) -> Tensor:
        return (self._column(x) * x).sum(1, keepdim=True)

    def back(self, y: Tensor, height: int, width: int) -> Tensor:
        w = self._column(y)
        return w * y / (w * w).sum()

    def _column(self, like: Tensor) -> Tensor:
        return like.new_tensor(self.weights)[:, None, None]


@dataclass(frozen=True, eq=False)
class Measurement:
    """The measurement of each image of a batch.

    Attributes:
        operator: A.
        y: A x, shape (n, c, h, w); repeated for, or cut to, the images of a batch.
        known: where ``y`` is known, bool, shape (m, 1, h, w), repeated too; None: everywhere.
    """

    operator: Linear
    y: Tensor
    known: Tensor | None = None

    def residual(self, x: Tensor) -> Tensor:
        """Return A x - y, 0 where y is not known; shape (B, c, h, w)."""
        apart = self.operator.measure(x) - _batch(self.y, len(x)).to(x)
        if self.known is None:
            return apart
        return torch.where(_batch(self.known, len(x)).to(x.device), apart, 0)

    def project(self, x0: Tensor) -> Tensor:
        """Return the nearest images with this measurement, shape (B, C, H, W)."""
        return x0 - self.operator.back(self.residual(x0), *x0.shape[-2:])

    def project_into_range(self, x0: Tensor) -> Tensor:
        """Return images with this measurement that hardly leave -1..1, shape (B, C, H, W).

        So clamping, as in a saved picture, hardly changes the measurement. Both sets are convex, so
        alternating projections approach their intersection.
        """
        for _ in range(_ROUNDS):
            x0 = self.project(x0.clamp(-1, 1))
        return x0


def _batch(tensor: Tensor, count: int) -> Tensor:
    """Return the first ``count`` entries, repeating them if there are fewer."""
    return tensor[torch.arange(count, device=tensor.device) % len(tensor)]
