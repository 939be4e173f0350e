"""3x3 convolution in float32 by Winograd's F(4x4, 3x3), channels last.

Winograd 1980; Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks". For each pair
of channels, direct convolution takes 9 products for one output, and this 36 for 16. Each tile of
6x6 pixels is transformed, multiplied with the transformed filters by one matrix product for each of
its 36 values, and transformed back to 4x4 outputs. All three are matrix products over channels-last
tensors, in blocks of tiles that stay in the processor's cache.
"""

import functools
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from .edges import Edges, fill_edges

TILE = 4
"""Outputs of a tile, in each direction."""
SIZE = TILE + 2
"""Inputs of a tile, in each direction."""
_POINTS = (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2))
"""The evaluation points of the polynomials, in addition to infinity. The usual 0, ±1, ±2 double the
error."""
_BLOCK_BYTES = 4 * 2**20
"""Bytes of transformed tiles at a time; they should stay in the cache."""

Filters = Tensor | list[Tensor]
"""Transformed: (36, I, O), or for each value of a tile in oneDNN's order."""


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


def transform(weight: Tensor, tiles: int) -> Filters:
    """Return the filters (O, I, 3, 3) for this many tiles; computed in float64."""
    out, channels = weight.shape[:2]
    both = torch.kron(_OF_FILTER, _OF_FILTER)
    filters = (both @ weight.detach().double().reshape(-1, 9).T).float()
    filters = filters.view(SIZE**2, out, channels)
    if not blas_is_slow():
        return filters.transpose(1, 2).contiguous()
    at_once = min(tiles, tiles_at_once(max(channels, out)))
    return [torch.ops.mkldnn._reorder_linear_weight(each, at_once) for each in filters]


def convolve(x: Tensor, filters: Filters, bias: Tensor | None, out: int, edges: Edges) -> Tensor:
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

    for images, part in _blocks(batch, rows, columns, max(channels, out)):
        here = padded[images, part.start * TILE :]
        count, high = images.stop - images.start, part.stop - part.start
        # All pixels of the tiles, ordered first by their place in the tile.
        tiles = here.as_strided(
            (SIZE, SIZE, count, high, columns, channels),
            (of_row, of_column, of_image, TILE * of_row, TILE * of_column, 1),
            here.storage_offset(),
        )
        transformed = _both_ways(_OF_TILE, tiles.reshape(SIZE, -1))
        products = _multiply(transformed.view(SIZE**2, -1, channels), filters)
        z = _both_ways(_OF_OUTPUTS, products.view(SIZE, -1)).view(
            TILE, TILE, count, high, columns, out
        )
        target = y[images, part.start * TILE : part.stop * TILE].view(
            count, high, TILE, columns, TILE, out
        )
        z = z.permute(2, 3, 0, 4, 1, 5)
        if bias is None:
            target.copy_(z)
        else:
            torch.add(z, bias, out=target)
    if y.shape[1:3] != (height, width):
        y = y[:, :height, :width].contiguous()
    return y.permute(0, 3, 1, 2)


def tiles_at_once(channels: int) -> int:
    """Return how many tiles a block has at most; ``channels``: the larger of the layer's two."""
    return max(1, _BLOCK_BYTES // (4 * SIZE**2 * channels))


def _blocks(batch: int, rows: int, columns: int, channels: int) -> Iterator[tuple[slice, slice]]:
    """Yield which images and rows of tiles are computed at once: whole images, or rows of one."""
    tiles = tiles_at_once(channels)
    high = max(1, min(rows, tiles // columns))
    count = max(1, min(batch, tiles // (columns * rows))) if high == rows else 1
    for i in range(0, batch, count):
        for r in range(0, rows, high):
            yield slice(i, min(i + count, batch)), slice(r, min(r + high, rows))


def _both_ways(matrix: Tensor, values: Tensor) -> Tensor:
    by_row = (matrix @ values).view(len(matrix), SIZE, -1)
    return matrix @ by_row


def _multiply(tiles: Tensor, filters: Filters) -> Tensor:
    """Return the products of tiles (36, tiles, I) with the filters, (36, tiles, O)."""
    if isinstance(filters, Tensor):
        return tiles @ filters
    linear = torch.ops.mkldnn._linear_pointwise
    each = zip(tiles, filters, strict=True)
    return torch.stack([linear(part, filter, None, "none", [], "") for part, filter in each])


@functools.cache
def blas_is_slow() -> bool:
    """Whether oneDNN computes in registers of twice the width that BLAS uses.

    On AMD's processors MKL does not use AVX-512. From Zen 5 on, which was AMD's first with the
    instruction named below, AVX-512 is twice as fast as AVX2.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and "AVX512" in torch.backends.cpu.get_cpu_capability()
        and capabilities.get("sse4a")  # of AMD only
        and capabilities.get("avx512_vp2intersect")
    )
