"""Down- and upsampling by 2: strided convolution, nearest neighbour, and the filter of NCSN++.

All take (B, C, H, W); downsampling needs even H and W.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.edges import Edges
from ..networks.enlarging import enlarged


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2: (B, C, H, W) to (B, C, H/2, W/2).

    With ``padding`` 0, one pixel is padded right and below only, as in Ho et al.'s code.
    """

    def __init__(self, channels: int, *, padding: int, operations: Any, **factory: Any):
        super().__init__()
        self.padding = padding
        self.edges = Edges()
        self.conv = operations.Conv2d(channels, channels, 3, stride=2, padding=padding, **factory)

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        if self.padding == 0:
            x, (below, right) = self.edges.join(x, (0, 0), (1, 1))
            x = F.pad(x, (0, right, 0, below))
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest neighbour to twice the size, then a 3x3 convolution."""

    def __init__(self, channels: int, *, operations: Any, **factory: Any):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1, **factory)
        self.enlarges = True  # unless the convolution does; see networks/enlarging.py

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        return self.conv(enlarged(x) if self.enlarges else x)


def average_down(x: Tensor) -> Tensor:
    """Average each 2x2 square."""
    return F.avg_pool2d(x, 2)


class FIRUp(nn.Module):
    """Twice the size through the (1, 3, 3, 1) filter (Karras et al. 2019; Song et al. 2021)."""

    def __init__(self):
        super().__init__()
        self.edges = Edges()

    def forward(self, x: Tensor) -> Tensor:
        x, zeros = self.edges.join(x, (1, 1))
        # At a joined edge, the padded pixel's two outputs are cut off too.
        cut = [1 if zero else 3 for zero in zeros]
        return F.conv_transpose2d(x, 4 * _fir_kernel(x), stride=2, padding=cut, groups=x.shape[1])


class FIRDown(nn.Module):
    """Half the size through the same filter."""

    def __init__(self):
        super().__init__()
        self.edges = Edges()

    def forward(self, x: Tensor) -> Tensor:
        x, zeros = self.edges.join(x, (1, 1))
        return F.conv2d(x, _fir_kernel(x), stride=2, padding=zeros, groups=x.shape[1])


def _fir_kernel(x: Tensor) -> Tensor:
    """Return the filter for each channel of ``x``, with sum 1, shape (C, 1, 4, 4)."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 8
    return torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
