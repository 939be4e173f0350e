"""Nearest-neighbour enlargement by 2 and a 3x3 convolution, without the enlarged image.

Enlarging repeats each pixel in a 2x2 square, so 4x4 pixels of the result see a pixel of the small
image. Together this is a transposed convolution with stride 2, whose 4x4 filters are sums of the
layer's taps: 16 multiplications for a pixel of the small image in place of 36.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .edges import Convolution

_LEAST_PIXELS = 256
"""Of a batch; for fewer, summing the taps and their gradients takes longer than it saves."""
_STRIDE, _DILATION, _GROUPS, _OUTPUT_PADDING = [2, 2], [1, 1], 1, [0, 0]


class EnlargingConvolution(Convolution):
    """Stands for ``_conv_forward`` of a layer whose input is enlarged first; has gradients."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution (B, O, 2 H, 2 W) of the enlarged x, shape (B, C, H, W)."""
        if x[:, 0].numel() < _LEAST_PIXELS:
            return super().__call__(enlarged(x), weight, bias)
        padded, zeros = self._edges.join(x, (1, 1))
        return F.conv_transpose2d(padded, _summed(weight), bias, _STRIDE, _cropped(zeros))


def take_over(network: nn.Module) -> Iterator[nn.Conv2d]:
    """Yield the layers whose input a network enlarges; from now on they have to do it."""
    for module in network.modules():
        if getattr(module, "enlarges", False):
            module.__dict__["enlarges"] = False
            yield cast(nn.Conv2d, module.get_submodule("conv"))


def enlarged(x: Tensor) -> Tensor:
    """Repeat each pixel in a 2x2 square."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def in_order(weight: Tensor, shape: torch.Size, zeros: tuple[int, int]) -> Tensor:
    """Return the summed taps of the filters (O, I, 3, 3) in the order that oneDNN's kernel needs.

    Args:
        weight: of the layer.
        shape: of the image, including the other side if edges are joined.
        zeros: how many rows and columns of zeros the layer still needs on each side, 0 or 1.
    """
    filters = _summed(weight.detach().float()).to(weight.dtype).contiguous()
    return torch.ops.mkldnn._reorder_convolution_transpose_weight(
        filters, _cropped(zeros), _OUTPUT_PADDING, _STRIDE, _DILATION, _GROUPS, [*shape]
    )


def convolve(x: Tensor, filters: Tensor, bias: Tensor | None, zeros: tuple[int, int]) -> Tensor:
    """Return the convolution of the enlarged x, channels last, by filters from ``in_order``."""
    geometry = (_cropped(zeros), _OUTPUT_PADDING, _STRIDE, _DILATION, _GROUPS)
    return torch.ops.mkldnn._convolution_transpose_pointwise(
        x, filters, bias, *geometry, "none", [], ""
    )


def _summed(weight: Tensor) -> Tensor:
    """Return the filters (O, I, 3, 3) for the pixels that see one, (I, O, 4, 4)."""
    taps = weight.transpose(0, 1).flip(2, 3)
    by_row = F.pad(taps, (0, 0, 0, 1)) + F.pad(taps, (0, 0, 1, 0))
    return F.pad(by_row, (0, 1)) + F.pad(by_row, (1, 0))


def _cropped(zeros: tuple[int, int]) -> list[int]:
    """Return the padding of the transposed convolution, which removes rows and columns.

    One on each side stands outside the image; where edges are joined, so do two for the other side.
    """
    return [1 if count else 3 for count in zeros]
