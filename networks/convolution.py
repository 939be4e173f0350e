"""Which way the convolutions of a network are computed on a CPU.

- 3x3 filters of many channels, in float32: by Winograd's algorithm; see ``winograd``.
- Of an image that is enlarged first: from the small one; see ``enlarging``.
- These, and other filters of many channels, are kept in the order that oneDNN's kernels need.
  Otherwise these reorder them at each call, which for small images takes most of the time.
- All others, and whenever a weight is not the layer's own: by torch.
"""

import functools
import math
from typing import NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from . import enlarging, prepared, winograd
from .base import Network
from .edges import Convolution, Edges, padding_of
from .prepared import PreparedWeight, PreparedWeights

# Measured on images of 4 to 256 pixels. The transformed filters are four times as large; with fewer
# tiles, reading them costs more than they save.
_LEAST_TILES, _LEAST_CHANNELS_IN_ORDER = 16, 128


class _Size(NamedTuple):
    """The shapes for which filters were put into the kernels' own order."""

    shape: torch.Size
    """The size of the input, including the other side if edges are joined."""
    zeros: tuple[int, int]
    """How many rows and columns of zeros the kernel adds on each side."""


class FastConvolution(Convolution):
    """Replaces ``_conv_forward`` of a layer, and takes over where it is faster.

    The layer handles the calls for which its filters are not valid; see ``PreparedWeight``.

    Args:
        layer: a convolution with zero padding, not in groups.
        settings: of the whole network.
        enlarges: whether the input is enlarged by 2 first, by nearest neighbour.
        edges: of the whole network; None: never joined.
    """

    def __init__(
        self,
        layer: nn.Conv2d,
        settings: PreparedWeights,
        *,
        enlarges: bool,
        edges: Edges | None = None,
    ):
        super().__init__(layer, edges or Edges())
        self._filters = PreparedWeight(layer, settings, self._nbytes)
        """For the number of tiles in a block, or for a ``_Size``."""
        self._enlarges = enlarges

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of x, shape (B, C, H, W)."""
        fast = None if torch.compiler.is_compiling() else self._fast(x, weight, bias)
        if fast is not None:
            return fast
        if self._enlarges:
            x = enlarging.enlarged(x)
        return super().__call__(x, weight, bias)

    def _fast(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
        layer = self._layer
        if not self._enlarges and _gains_from_tiles(layer, winograd.tiles_of(x.shape)):
            block = winograd.Block.of(x.shape, max(layer.in_channels, layer.out_channels))
            make = functools.partial(winograd.transform, weight, block.tiles)
            filters = self._filters.get(x, weight, block.tiles, make)
            if filters is not None:
                return winograd.convolve(x, filters, bias, layer.out_channels, block, self._edges)
        elif _gains_from_order(layer) or self._enlarges:
            padded, zeros = self._edges.join(x, padding_of(layer))
            size = _Size(padded.shape, zeros)
            make = functools.partial(self._in_order, weight, size)
            filters = self._filters.get(x, weight, size, make)
            if filters is not None:
                # In another order oneDNN may only have its reference kernel for these filters.
                padded = padded.contiguous(memory_format=torch.channels_last)
                if self._enlarges:
                    return enlarging.convolve(padded, filters, bias, zeros)
                return torch.ops.mkldnn._convolution_pointwise(
                    padded, filters, bias, *_geometry(layer, zeros), "none", [], ""
                )
        return None

    @property
    def bytes_to_make(self) -> int:
        """How much memory the filters will take at most; 0 once they are made."""
        return self._filters.bytes_to_make

    @property
    def share_left(self) -> float:
        """The part of the multiplications that the last call needed, not counting transforms."""
        if self._filters.value is None:
            return 1.0
        if self._enlarges:
            return 16 / 36
        return 1 / 4 if isinstance(self._filters.made_for, int) else 1.0

    def _nbytes(self) -> int:
        weight = self._layer.weight
        out, channels = weight.shape[:2]
        taps = weight[0, 0].numel()
        taken = (
            16 if self._enlarges else winograd.SIZE**2 if _gains_from_tiles(self._layer) else taps
        )
        return _rounded(out) * channels * taken * weight.element_size()

    def _in_order(self, weight: Tensor, size: _Size) -> Tensor:
        """Return the filters in the order that oneDNN's kernel needs for this size."""
        if self._enlarges:
            return enlarging.in_order(weight, size.shape, size.zeros)
        geometry = _geometry(self._layer, size.zeros)
        return torch.ops.mkldnn._reorder_convolution_weight(
            weight.detach(), *geometry, [*size.shape]
        )


def _rounded(out: int) -> int:
    """Return for how many outputs oneDNN's order has room."""
    return -(-out // 32) * 32


def _gains_from_tiles(layer: nn.Conv2d, tiles: float = math.inf) -> bool:
    """Whether a layer with this many tiles is faster with them."""
    channels, out = layer.in_channels, layer.out_channels
    return (
        layer.weight.dtype == torch.float32
        and layer.kernel_size == (3, 3)
        and layer.stride == layer.dilation == layer.padding == (1, 1)
        and min(channels, out) >= winograd.least_channels()
        and tiles >= _LEAST_TILES
    )


def _gains_from_order(layer: nn.Conv2d) -> bool:
    """Whether oneDNN has its kernels, and gains from filters in its own order."""
    wide = min(layer.in_channels, layer.out_channels) >= _LEAST_CHANNELS_IN_ORDER
    return wide and prepared.has_kernels()


def _geometry(
    layer: nn.Conv2d, zeros: tuple[int, int]
) -> tuple[list[int], list[int], list[int], int]:
    return [*zeros], [*layer.stride], [*layer.dilation], 1


def accelerate(network: Network, settings: PreparedWeights) -> None:
    """Let the convolutions of a network on a CPU use fast filters.

    A layer's filters are made when it first runs, belong to it, and take up to four times the
    memory of its weight. Afterwards, disable ``settings`` while you write into a weight; replacing
    a weight by another tensor is noticed.
    """
    enlarge = set(enlarging.take_over(network)) if prepared.has_kernels() else set()
    for module in network.modules():
        if _suits(module, enlarges=(enlarges := module in enlarge)):
            # The method that torch's layer calls, and a host's layer that casts the weight for each
            # call.
            fast = FastConvolution(module, settings, enlarges=enlarges, edges=network.edges)
            module.__dict__["_conv_forward"] = fast


def _suits(layer: nn.Module, *, enlarges: bool) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and (enlarges or _gains_from_tiles(layer) or _gains_from_order(layer))
    )
