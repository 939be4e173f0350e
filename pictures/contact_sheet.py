"""Contact sheets: many pictures in one."""

import math

from torch import Tensor

# A dark grey, on which both black and white pictures have a visible edge.
_BACKGROUND = 40 / 255


def square_columns(count: int) -> int:
    """Return the number of columns that makes a sheet as close to a square as possible."""
    return math.ceil(math.sqrt(count))


def gap_between(height: int, width: int) -> int:
    """Return the gap between pictures in pixels: 1/32 of the smaller side, at least 1."""
    return max(1, min(height, width) // 32)


def make_sheet(images: Tensor, columns: int) -> Tensor:
    """Lay out pictures in rows, from left to right and from top to bottom.

    Args:
        images: shape (N, H, W, C) in 0..1; a 4th channel is alpha.
        columns: pictures per row; more than N means N.

    Returns:
        Shape (H', W', C); opaque dark grey between the pictures and after the last one.
    """
    count, height, width, channels = images.shape
    gap = gap_between(height, width)
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    size = rows * (height + gap) - gap, columns * (width + gap) - gap
    sheet = images.new_full((*size, channels), _BACKGROUND)
    if channels == 4:
        sheet[..., 3] = 1
    for k, image in enumerate(images):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
