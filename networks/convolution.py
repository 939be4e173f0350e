"""3x3 convolutions on a CPU: fewer multiplications, or filters in the kernels' own order.

Most use Winograd's F(4x4, 3x3) (Winograd 1980; Lavin & Gray 2016, "Fast Algorithms for
Convolutional Neural Networks"). For each pair of channels, direct convolution takes 9 products for
one output, and this 36 for 16. Each tile of 6x6 pixels is transformed, multiplied with the
transformed filters by one matrix product for each of its 36 values, and transformed back to 4x4
outputs. All three are matrix products over channels-last tensors, in blocks of tiles that stay in
the processor's cache.

For small images most of the time goes into reading the filters. So they are kept in the order that
oneDNN's direct kernels need; otherwise these reorder them at each call. The same holds for
the 2x2 filters of ``enlarging``.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Network
from .edges import Convolution, Edges, fill_edges, padding_of
from .enlarging import enlarged, four_filters, interleave, take_over

_TILE = 4
"""Outputs of a tile, in each direction."""
_SIZE = _TILE + 2
_POINTS = (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2))
"""The evaluation points of the polynomials, in addition to infinity. The usual 0, ±1, ±2 double the
error."""

# Measured on images of 4 to 128 pixels. With fewer channels the transforms cost more than they
# save; with fewer tiles reading the transformed filters does, which are four times as large.
_LEAST_CHANNELS, _LEAST_TILES, _LEAST_CHANNELS_IN_ORDER = 64, 16, 128
_LEAST_PRODUCTS = 2**22
"""Multiplications from which oneDNN is faster than a batch of products by BLAS, which on some
processors uses half the width of the registers."""
_BLOCK_BYTES = 4 * 2**20
"""Bytes of transformed tiles at a time; they should stay in the cache."""
_RESERVE, _SHARE = 2**30, 0.05
"""The bytes of memory that stay free, and the part of the rest that a layer may take."""

_Filters = Tensor | list[Tensor]
"""Of a layer, or one for each value of a tile, in oneDNN's order."""


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


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return the transforms of a tile, a filter and the outputs in one direction, in float64.

    Shapes (6, 6), (6, 3), (4, 6). Toom and Cook's construction: polynomials are multiplied by their
    values at the points; the transposed algorithm is the convolution.
    """
    tile, kernel = torch.zeros(_SIZE, _SIZE, dtype=torch.float64), []
    outputs = torch.zeros(_TILE, _SIZE, dtype=torch.float64)
    for i, point in enumerate(_POINTS):
        others = [p for p in _POINTS if p != point]
        scale = math.prod(point - p for p in others)
        tile[i, :-1] = _polynomial(others)
        kernel.append([point**k / scale for k in range(3)])
        outputs[:, i] = torch.tensor([point**k for k in range(_TILE)], dtype=torch.float64)
    # The value at infinity is the leading coefficient.
    tile[-1] = _polynomial(_POINTS)
    outputs[-1, -1] = 1
    return tile, torch.tensor([*kernel, [0.0, 0.0, 1.0]], dtype=torch.float64), outputs


def _polynomial(roots: tuple[float, ...] | list[float]) -> Tensor:
    """Return the coefficients of the monic polynomial with these roots, lowest first."""
    found = torch.ones(1, dtype=torch.float64)
    for root in roots:
        found = F.pad(found, (1, 0)) - root * F.pad(found, (0, 1))
    return found


_OF_TILE, _OF_FILTER, _OF_OUTPUTS = _matrices()
_OF_TILE, _OF_OUTPUTS = _OF_TILE.float(), _OF_OUTPUTS.float()


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
        self._filters: _Filters | None = None
        self._made_from: Tensor | None = None
        """The weight's memory, kept so that no other weight can be allocated there."""
        self._for_size: _Size | None = None
        """None: the filters are for tiles."""
        self._enlarges = enlarges
        self._dtype = layer.weight.dtype

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of x, shape (B, C, H, W)."""
        rows, columns = (-(-side // _TILE) for side in x.shape[2:])
        fits_tiles = _fits_tiles(self._layer) and not self._enlarges
        tiles = len(x) * rows * columns
        if fits_tiles and tiles >= _LEAST_TILES:
            filters = self._filters_for(x, weight, None, lambda: _for_tiles(weight, tiles))
            if filters is not None:
                return self._convolve_tiles(x, filters, bias)
        elif _gains_from_order(self._layer) or self._enlarges:
            padded, zeros = self._edges.join(x, padding_of(self._layer))
            size = _Size(padded.shape, zeros)
            filters = self._filters_for(x, weight, size, lambda: self._for_kernel(weight, size))
            if filters is not None:
                if self._enlarges and bias is not None:
                    bias = bias.repeat(4)
                y = _convolve_directly(padded, filters, bias, _geometry(self._layer, zeros))
                return interleave(y) if self._enlarges else y
        if self._enlarges:
            x = enlarged(x)
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
        return 1 / 4 if self._for_size is None else 1.0

    @property
    def _filter_bytes(self) -> int:
        weight = self._layer.weight
        taps = weight[0, 0].numel()
        taken = 16 if self._enlarges else _SIZE**2 if _fits_tiles(self._layer) else taps
        return weight.numel() // taps * taken * weight.element_size()

    def _filters_for(
        self, x: Tensor, weight: Tensor, for_size: _Size | None, make: Callable[[], _Filters]
    ) -> Any:
        """Return the filters for tiles, or in the order for a size; None: use the layer itself."""
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

    def _for_kernel(self, weight: Tensor, size: _Size) -> Tensor:
        """Return the filters in the order that oneDNN's kernel needs for this size."""
        filters = weight.detach()
        if self._enlarges:
            filters = four_filters(filters.float()).to(weight.dtype)
        geometry = _geometry(self._layer, size.zeros)
        return torch.ops.mkldnn._reorder_convolution_weight(filters, *geometry, [*size.shape])

    def _convolve_tiles(self, x: Tensor, filters: _Filters, bias: Tensor | None) -> Tensor:
        batch, channels, height, width = x.shape
        rows, columns, out = -(-height // _TILE), -(-width // _TILE), self._layer.out_channels
        below, right = (n * _TILE + 1 for n in (rows, columns))
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right - width, 1, below - height))
        if self._edges.y:
            fill_edges(padded, 1, 1, height, 1)
        if self._edges.x:
            fill_edges(padded, 2, 1, width, 1)
        of_image, of_row, of_column, _ = padded.stride()
        y = x.new_empty(batch, rows * _TILE, columns * _TILE, out)

        for images, part in _blocks(batch, rows, columns * max(channels, out)):
            here = padded[images, part.start * _TILE :]
            count, high = images.stop - images.start, part.stop - part.start
            # All pixels of the tiles, ordered first by their place in the tile.
            tiles = here.as_strided(
                (_SIZE, _SIZE, count, high, columns, channels),
                (of_row, of_column, of_image, _TILE * of_row, _TILE * of_column, 1),
                here.storage_offset(),
            )
            transformed = _both_ways(_OF_TILE, tiles.reshape(_SIZE, -1))
            products = _multiply(transformed.view(_SIZE**2, -1, channels), filters)
            z = _both_ways(_OF_OUTPUTS, products.view(_SIZE, -1)).view(
                _TILE, _TILE, count, high, columns, out
            )
            target = y[images, part.start * _TILE : part.stop * _TILE].view(
                count, high, _TILE, columns, _TILE, out
            )
            z = z.permute(2, 3, 0, 4, 1, 5)
            if bias is None:
                target.copy_(z)
            else:
                torch.add(z, bias, out=target)
        if y.shape[1:3] != (height, width):
            y = y[:, :height, :width].contiguous()
        return y.permute(0, 3, 1, 2)


def _multiply(tiles: Tensor, filters: _Filters) -> Tensor:
    """Return the products of tiles (36, tiles, I) with filters (36, I, O), (36, tiles, O)."""
    if isinstance(filters, Tensor):
        return tiles @ filters
    linear = torch.ops.mkldnn._linear_pointwise
    each = zip(tiles, filters, strict=True)
    return torch.stack([linear(part, filter, None, "none", [], "") for part, filter in each])


def _both_ways(matrix: Tensor, values: Tensor) -> Tensor:
    by_row = (matrix @ values).view(len(matrix), _SIZE, -1)
    return matrix @ by_row


def _blocks(batch: int, rows: int, row_values: int) -> Iterator[tuple[slice, slice]]:
    """Yield which images and rows of tiles are computed at once: whole images, or rows of one."""
    bytes_of_row = 4 * _SIZE**2 * row_values
    high = max(1, min(rows, _BLOCK_BYTES // bytes_of_row))
    count = max(1, min(batch, _BLOCK_BYTES // (bytes_of_row * rows))) if high == rows else 1
    for i in range(0, batch, count):
        for r in range(0, rows, high):
            yield slice(i, min(i + count, batch)), slice(r, min(r + high, rows))


def _for_tiles(weight: Tensor, tiles: int) -> _Filters:
    """Return the transformed filters, (36, I, O), or 36 of them in oneDNN's order if faster."""
    filters = _transform(weight)
    _, channels, out = filters.shape
    at_once = min(tiles, _BLOCK_BYTES // (4 * _SIZE**2 * max(channels, out)))
    if at_once * channels * out < _LEAST_PRODUCTS or not torch.backends.mkldnn.is_available():
        return filters
    reorder = torch.ops.mkldnn._reorder_linear_weight
    return [reorder(each.T.contiguous(), at_once) for each in filters]


def _transform(weight: Tensor) -> Tensor:
    """Return the filters (O, I, 3, 3) as (36, I, O); in float64 until the end."""
    out, channels = weight.shape[:2]
    both = torch.kron(_OF_FILTER, _OF_FILTER)
    filters = both @ weight.detach().double().reshape(-1, 9).T
    return filters.float().view(_SIZE**2, out, channels).transpose(1, 2).contiguous()


def _fits_tiles(layer: nn.Conv2d) -> bool:
    return (
        layer.weight.dtype == torch.float32
        and layer.kernel_size == (3, 3)
        and layer.stride == layer.dilation == layer.padding == (1, 1)
        and min(layer.in_channels, layer.out_channels) >= _LEAST_CHANNELS
    )


def _gains_from_order(layer: nn.Conv2d) -> bool:
    """Whether this build of torch has oneDNN, and oneDNN gains from filters in its own order."""
    wide = min(layer.in_channels, layer.out_channels) >= _LEAST_CHANNELS_IN_ORDER
    return wide and torch.backends.mkldnn.is_available()


def _geometry(
    layer: nn.Conv2d, zeros: tuple[int, int]
) -> tuple[list[int], list[int], list[int], int]:
    return [*zeros], [*layer.stride], [*layer.dilation], 1


def _convolve_directly(
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    geometry: tuple[list[int], list[int], list[int], int],
) -> Tensor:
    # In another order oneDNN may only have its reference kernel for these filters.
    x = x.contiguous(memory_format=torch.channels_last)
    return torch.ops.mkldnn._convolution_pointwise(x, filters, bias, *geometry, "none", [], "")


def accelerate(network: Network, settings: Filters) -> None:
    """Let the convolutions of a network on a CPU use fast filters.

    A layer's filters are made when it first runs, belong to it, and take up to four times the
    memory of its weight. Afterwards, disable ``settings`` while you write into a weight; replacing
    a weight by another tensor is noticed.
    """
    enlarging = set(take_over(network)) if torch.backends.mkldnn.is_available() else set()
    for module in network.modules():
        if _suits(module, enlarges=(enlarges := module in enlarging)):
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
        and (enlarges or _fits_tiles(layer) or _gains_from_order(layer))
    )
