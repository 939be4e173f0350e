"""Which way the convolutions of a network are computed on a CPU.

- 3x3 filters of many channels, in float32: by Winograd's algorithm; see ``winograd``.
- Of an image that is enlarged first: from the small one; see ``enlarging``.
- These, and other filters of many channels, are kept in the order that oneDNN's kernels need.
  Otherwise these reorder them at each call, which for small images takes most of the time.
- All others, and whenever a weight is not the layer's own: by torch.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from . import enlarging, winograd
from .base import Network
from .edges import Convolution, Edges, padding_of

# Measured on images of 4 to 256 pixels. With fewer tiles, reading the transformed filters costs more
# than they save, which are four times as large.
_LEAST_TILES, _LEAST_CHANNELS_IN_ORDER = 8, 128
_RESERVE, _SHARE = 2**30, 0.05
"""The bytes of memory that stay free, and the part of the rest that a layer may take."""


class _Size(NamedTuple):
    """The shapes for which filters were put into the kernels' own order."""

    shape: torch.Size
    """The size of the input, including the other side if edges are joined."""
    zeros: tuple[int, int]
    """How many rows and columns of zeros the kernel adds on each side."""


@dataclass
class Filters:
    """Whether the layers of a network may use fast filters, and how much memory there is for them.

    Attributes:
        enabled: false while other code writes into the weights.
        free_memory: in bytes; if it is short, layers convolve directly.
    """

    enabled: bool = True
    free_memory: Callable[[], float] = lambda: math.inf


class FastConvolution(Convolution):
    """Replaces ``_conv_forward`` of a layer, and takes over where it is faster.

    The filters are valid only for the layer's own weight. The layer handles any other tensor, for
    example one that a host casts or patches for one call, and calls that need gradients.

    Args:
        layer: a convolution with zero padding, not in groups.
        settings: of the whole network.
        enlarges: whether the input is enlarged by 2 first, by nearest neighbour.
        edges: of the whole network; None: never joined.
    """

    def __init__(
        self,
        layer: nn.Conv2d,
        settings: Filters,
        *,
        enlarges: bool,
        edges: Edges | None = None,
    ):
        super().__init__(layer, edges or Edges())
        self._settings = settings
        self._filters: Tensor | None = None
        self._made_from: Tensor | None = None
        """The weight's memory, kept so that no other weight can be allocated there."""
        self._for_size: _Size | int | None = None
        """An int: for blocks of this many tiles."""
        self._enlarges = enlarges
        self._dtype = layer.weight.dtype

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of x, shape (B, C, H, W)."""
        layer = self._layer
        if not self._enlarges and _gains_from_tiles(layer, winograd.tiles_of(x.shape)):
            block = winograd.Block.of(x.shape, max(layer.in_channels, layer.out_channels))
            make = functools.partial(winograd.transform, weight, block.tiles)
            filters = self._filters_for(x, weight, block.tiles, make)
            if filters is not None:
                return winograd.convolve(x, filters, bias, layer.out_channels, block, self._edges)
        elif _gains_from_order(layer) or self._enlarges:
            padded, zeros = self._edges.join(x, padding_of(layer))
            size = _Size(padded.shape, zeros)
            make = functools.partial(self._in_order, weight, size)
            filters = self._filters_for(x, weight, size, make)
            if filters is not None:
                # In another order oneDNN may only have its reference kernel for these filters.
                padded = padded.contiguous(memory_format=torch.channels_last)
                if self._enlarges:
                    return enlarging.convolve(padded, filters, bias, zeros)
                return torch.ops.mkldnn._convolution_pointwise(
                    padded, filters, bias, *_geometry(layer, zeros), "none", [], ""
                )
        if self._enlarges:
            x = enlarging.enlarged(x)
        return super().__call__(x, weight, bias)

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the layer makes its own filters; those in oneDNN's order cannot be copied.
        return {**self.__dict__, "_filters": None, "_made_from": None}

    @property
    def bytes_to_make(self) -> int:
        """How much memory the filters will take at most; 0 once they are made."""
        return 0 if self._filters is not None else self._filter_bytes

    @property
    def share_left(self) -> float:
        """The part of the multiplications that the last call needed, not counting transforms."""
        if self._filters is None:
            return 1.0
        if self._enlarges:
            return 16 / 36
        return 1 / 4 if isinstance(self._for_size, int) else 1.0

    @property
    def _filter_bytes(self) -> int:
        weight = self._layer.weight
        taps = weight[0, 0].numel()
        taken = (
            16 if self._enlarges else winograd.SIZE**2 if _gains_from_tiles(self._layer) else taps
        )
        return weight.numel() // taps * taken * weight.element_size()

    def _filters_for(
        self,
        x: Tensor,
        weight: Tensor,
        for_size: _Size | int,
        make: Callable[[], Tensor],
    ) -> Tensor | None:
        """Return the filters for a size, made once; None: use the layer itself."""
        if (
            not self._settings.enabled
            or weight is not self._layer.weight
            or not x.dtype == weight.dtype == self._dtype
            or not x.device.type == weight.device.type == "cpu"
            or (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
            or torch.compiler.is_compiling()
        ):
            return None
        before = self._made_from
        if (
            before is None
            or before.data_ptr() != weight.data_ptr()
            or before.stride() != weight.stride()
            or self._for_size != for_size
        ):
            self._filters = self._made_from = None
            if self._filter_bytes > _SHARE * (self._settings.free_memory() - _RESERVE):
                return None
            self._filters = make()
            self._made_from, self._for_size = weight.detach(), for_size
        return self._filters

    def _in_order(self, weight: Tensor, size: _Size) -> Tensor:
        """Return the filters in the order that oneDNN's kernel needs for this size."""
        if self._enlarges:
            return enlarging.in_order(weight, size.shape, size.zeros)
        geometry = _geometry(self._layer, size.zeros)
        return torch.ops.mkldnn._reorder_convolution_weight(
            weight.detach(), *geometry, [*size.shape]
        )


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
    """Whether this build of torch has oneDNN, and oneDNN gains from filters in its own order."""
    wide = min(layer.in_channels, layer.out_channels) >= _LEAST_CHANNELS_IN_ORDER
    return wide and torch.backends.mkldnn.is_available()


def _geometry(
    layer: nn.Conv2d, zeros: tuple[int, int]
) -> tuple[list[int], list[int], list[int], int]:
    return [*zeros], [*layer.stride], [*layer.dilation], 1


def accelerate(network: Network, settings: Filters) -> None:
    """Let the convolutions of a network on a CPU use fast filters.

    A layer's filters are made when it first runs, belong to it, and take up to four times the
    memory of its weight. Afterwards, disable ``settings`` while you write into a weight; replacing
    a weight by another tensor is noticed.
    """
    has_kernels = torch.backends.mkldnn.is_available()
    enlarge = set(enlarging.take_over(network)) if has_kernels else set()
    for module in network.modules():
        if _suits(module, enlarges=(enlarges := module in enlarge)):
            # The method that torch's layer calls, and a host's layer that casts the weight for each
            # call.
            fast = FastConvolution(module, settings, enlarges=enlarges, edges=network.edges)
            module.__dict__["_conv_forward"] = fast


def bytes_to_make(network: nn.Module) -> int:
    """Return the maximum memory that filters not yet made will take in a network."""
    layers = (module.__dict__.get("_conv_forward") for module in network.modules())
    return sum(layer.bytes_to_make for layer in layers if isinstance(layer, FastConvolution))


def _suits(layer: nn.Module, *, enlarges: bool) -> TypeGuard[nn.Conv2d]:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and (enlarges or _gains_from_tiles(layer) or _gains_from_order(layer))
    )
