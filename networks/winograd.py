"""3x3 convolution in float32 by Winograd's F(4x4, 3x3), channels last.

Winograd 1980; Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks". For each pair
of channels, direct convolution takes 9 products for one output, and this 36 for 16. Each tile of
6x6 pixels is transformed, each of its 36 values is multiplied with its own transformed filters, and
the results are transformed back to 4x4 outputs. The products are one 1x1 convolution in 36 groups
over the tiles. All is channels last, in blocks of tiles that stay in the processor's cache.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from . import prepared
from .batch_parts import equal_part, equal_parts
from .edges import Edges, fill_edges

TILE = 4
"""Outputs of a tile, in each direction."""
SIZE = TILE + 2
"""Inputs of a tile, in each direction."""
_POINTS = (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2))
"""The evaluation points of the polynomials, in addition to infinity. The usual 0, ±1, ±2 double the
error."""
_VALUES_AT_ONCE, _LEAST_AT_ONCE = 2**13, 64
"""How many values of tiles, and how many tiles, are computed at once. Measured with 64 to 512
channels on images of 8 to 256 pixels: 64 to 128 tiles take the least time."""
_VALUES_OF_FILTERS = 2**13
"""How many pairs of channels are transformed at once."""


class Block(NamedTuple):
    """The tiles that are computed at once: rows of one image, or whole images.

    All blocks of a layer have the same size, since oneDNN's order of the filters depends on it.
    Where they do not divide the images or the rows, the last overlaps the one before.
    """

    images: int
    rows: int
    columns: int

    @classmethod
    def of(cls, shape: torch.Size, channels: int) -> "Block":
        """Return the blocks for images (B, C, H, W); ``channels``: the larger of a layer's two."""
        rows, columns = (-(-side // TILE) for side in shape[2:])
        at_once = max(_LEAST_AT_ONCE, _VALUES_AT_ONCE // channels)
        high = equal_part(rows, at_once // columns)
        count = equal_part(shape[0], at_once // (rows * columns)) if high == rows else 1
        return cls(count, high, columns)

    @property
    def tiles(self) -> int:
        """How many tiles a block has."""
        return self.images * self.rows * self.columns


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return the transforms of a tile, a filter and the outputs in one direction, in float64.

    Shapes (6, 6), (6, 3), (4, 6). Toom and Cook's construction: polynomials are multiplied by their
    values at the points; the transposed algorithm is the convolution.
    """
    tile, kernel = torch.zeros(SIZE, SIZE, dtype=torch.float64), []
    outputs = torch.zeros(TILE, SIZE, dtype=torch.float64)
    for i, point in enumerate(_POINTS):
        others = [p for p in _POINTS if p != point]
        scale = math.prod(point - p for p in others)
        tile[i, :-1] = _polynomial(others)
        kernel.append([point**k / scale for k in range(3)])
        outputs[:, i] = torch.tensor([point**k for k in range(TILE)], dtype=torch.float64)
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
_IN_GROUPS = ([0, 0], [1, 1], [1, 1], SIZE**2)
"""Padding, stride, dilation and groups of the products."""


def tiles_of(shape: torch.Size) -> int:
    """Return how many tiles images (B, C, H, W) have."""
    return shape[0] * math.prod(-(-side // TILE) for side in shape[2:])


def transform(weight: Tensor, tiles: int) -> Tensor:
    """Return the filters (O, I, 3, 3) for blocks of this many tiles; computed in float64.

    They are in oneDNN's order for a convolution in 36 groups. Without its kernels: (36, I, O).
    """
    out, channels = weight.shape[:2]
    both = torch.kron(_OF_FILTER, _OF_FILTER)
    filters = weight.new_empty(SIZE**2, out, channels)
    # A few outputs at a time, so that the float64 values need little memory.
    at_once = -(-_VALUES_OF_FILTERS // channels)
    for some, of_some in zip(
        weight.detach().split(at_once), filters.split(at_once, dim=1), strict=True
    ):
        of_some.copy_((both @ some.double().reshape(-1, 9).T).view_as(of_some))
    if not prepared.has_kernels():
        return filters.transpose(1, 2).contiguous()
    return torch.ops.mkldnn._reorder_convolution_weight(
        filters.view(SIZE**2 * out, channels, 1, 1),
        *_IN_GROUPS,
        [1, SIZE**2 * channels, 1, tiles],
    )


def convolve(
    x: Tensor, filters: Tensor, bias: Tensor | None, out: int, block: Block, edges: Edges
) -> Tensor:
    """Return the convolution of x (B, I, H, W), padded by 1, shape (B, out, H, W)."""
    batch, channels, height, width = x.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    below, right = (n * TILE + 1 for n in (rows, columns))
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right - width, 1, below - height))
    if edges.y:
        fill_edges(padded, 1, 1, height, 1)
    if edges.x:
        fill_edges(padded, 2, 1, width, 1)
    of_image, of_row, of_column, _ = padded.stride()
    y = x.new_empty(batch, rows * TILE, columns * TILE, out)

    # Two buffers for all steps of all blocks stay in the cache.
    buffers = x.new_empty(2, block.tiles * SIZE**2 * max(channels, out))
    for images in equal_parts(batch, block.images):
        for part in equal_parts(rows, block.rows):
            here = padded[images, part.start * TILE :]
            tiles = here.as_strided(
                (*block, SIZE, SIZE, channels),
                (of_image, TILE * of_row, TILE * of_column, of_row, of_column, 1),
                here.storage_offset(),
            )
            products = _multiply(_transformed(tiles, buffers), filters, out)
            outputs = _transformed_back(products, buffers).view(*block, TILE, TILE, out)
            target = y[images, part.start * TILE : part.stop * TILE]
            target = target.view(block.images, block.rows, TILE, columns, TILE, out)
            outputs = outputs.transpose(2, 3)
            if bias is None:
                target.copy_(outputs)
            else:
                torch.add(outputs, bias, out=target)
    if y.shape[1:3] != (height, width):
        y = y[:, :height, :width].contiguous()
    return y.permute(0, 3, 1, 2)


def _transformed(tiles: Tensor, buffers: Tensor) -> Tensor:
    """Return tiles (..., 6, 6, I), transformed in both directions: (tiles, 36, I), in buffer 0."""
    channels = tiles.shape[-1]
    values, by_row = (buffer[: tiles.numel()] for buffer in buffers)
    values.view(tiles.shape).copy_(tiles)
    _apply(_OF_TILE, values.view(-1, SIZE, SIZE * channels), by_row)
    _apply(_OF_TILE, by_row.view(-1, SIZE, channels), values)
    return values.view(-1, SIZE**2, channels)


def _transformed_back(products: Tensor, buffers: Tensor) -> Tensor:
    """Return the outputs (tiles, 4, 4, O) of products (tiles, 36, O), in buffer 1."""
    tiles, _, out = products.shape
    by_row, values = (
        buffer[: tiles * TILE * n * out] for buffer, n in zip(buffers, (SIZE, TILE), strict=True)
    )
    _apply(_OF_OUTPUTS, products.view(-1, SIZE, SIZE * out), by_row)
    _apply(_OF_OUTPUTS, by_row.view(-1, SIZE, out), values)
    return values


def _apply(matrix: Tensor, values: Tensor, result: Tensor) -> None:
    """Multiply a matrix (m, n) with each of the values (B, n, K) into ``result``, (B m K)."""
    batch, _, length = values.shape
    out = result.view(batch, len(matrix), length)
    torch.bmm(matrix.expand(batch, -1, -1), values, out=out)


def _multiply(tiles: Tensor, filters: Tensor, out: int) -> Tensor:
    """Return the products of tiles (tiles, 36, I) with the filters: (tiles, 36, out)."""
    if not filters.is_mkldnn:
        return (tiles.transpose(0, 1) @ filters).transpose(0, 1).contiguous()
    # As an image of one row, with the channels of all groups.
    image = tiles.view(1, 1, len(tiles), -1).permute(0, 3, 1, 2)
    products = torch.ops.mkldnn._convolution_pointwise(
        image, filters, None, *_IN_GROUPS, "none", [], ""
    )
    return products.permute(0, 2, 3, 1).view(len(tiles), SIZE**2, out)


@functools.cache
def least_channels() -> int:
    """Return with how many channels a layer gains; with fewer, the transforms cost too much.

    BLAS computes them, and on AMD's processors MKL does not use AVX-512. oneDNN's direct kernels
    do, and from Zen 5 on, AMD's first with the instruction named below, that doubles their speed.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    blas_is_slow = (
        torch.backends.mkl.is_available()
        and prepared.has_kernels()
        and "AVX512" in torch.backends.cpu.get_cpu_capability()
        and capabilities.get("sse4a")  # of AMD only
        and capabilities.get("avx512_vp2intersect")
    )
    return 96 if blas_is_slow else 64
