"""Many pictures on one."""

import math

from torch import Tensor

# A dark grey: on it both black and white pictures have an edge.
_BACKGROUND = 40 / 255


def square_columns(count: int) -> int:
    """Return how many pictures stand in a row of the sheet that is nearest to a square."""
    return math.ceil(math.sqrt(count))


def gap_between(height: int, width: int) -> int:
    """Return the pixels between pictures of this size: a 32nd of the smaller side, at least 1."""
    return max(1, min(height, width) // 32)


def make_sheet(images: Tensor, columns: int) -> Tensor:
    """Lay pictures out in rows, from left to right and from top to bottom.

    Args:
        images: shape (N, H, W, C) in 0..1; of 4 channels the last is alpha.
        columns: how many stand in a row; more than N means N.

    Returns:
        Shape (H', W', C); dark grey, and opaque, between the pictures and after the last.
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
