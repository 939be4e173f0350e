"""Windows of a size that a network knows, which cover a larger image and blend into each other.

At each evaluation the network sees every window alone, and the predictions are averaged where they
overlap (MultiDiffusion: Bar-Tal, Yariv, Lipman, Dekel 2023), with the weights of a Gaussian around
each window's centre (Mixture of Diffusers: Jiménez 2023).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .batch_parts import equal_parts
from .edges import Directions, continues

# The standard deviation of a window's weights, as in Mixture of Diffusers.
_DEVIATION = 0.1


@dataclass(frozen=True)
class Windows:
    """The settings of the windows that cover an image.

    Attributes:
        height, width: of a window, in pixels; a smaller image has smaller windows.
        overlap: the minimum part of a window that it shares with the next; 0 .. 1.
        wrap: the directions in which windows continue over the image's edges.
    """

    height: int
    width: int
    overlap: float
    wrap: Directions = "none"


class Cover:
    """The windows of one image of H x W pixels, row by row; the same for all images of a batch.

    A window of a batch has the number ``window * B + image``.

    Args:
        height, width: of the image.
        windows: their settings; None: one window, of the image's size.
        seamless: the directions in which the image tiles anyway.
    """

    def __init__(
        self, height: int, width: int, windows: Windows | None, seamless: Directions = "none"
    ):
        sizes = (height, width) if windows is None else (windows.height, windows.width)
        overlap, wrap = (0.0, "none") if windows is None else (windows.overlap, windows.wrap)
        continued = [continues(seamless, axis) or continues(wrap, axis) for axis in ("y", "x")]
        self._rows, self._columns = (
            _Axis.cover(length, size, overlap, wraps=wraps)
            for length, size, wraps in zip((height, width), sizes, continued, strict=True)
        )
        one_in = [len(axis.places) == 1 for axis in (self._rows, self._columns)]
        self.joined = {"y": continued[0] and one_in[0], "x": continued[1] and one_in[1]}
        """Which opposite edges of a window are the image's, and joined; see ``Edges``."""

    def __len__(self) -> int:
        return len(self._rows.places) * len(self._columns.places)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a window."""
        return self._rows.places.shape[1], self._columns.places.shape[1]

    def cut(self, images: Tensor, numbers: range) -> Tensor:
        """Return the windows with these numbers, shape (N, C, h, w), of (B, C, H, W)."""
        found = []
        for n in numbers:
            window, image = divmod(n, len(images))
            rows, columns, _ = self._at(window)
            found.append(images[image][:, rows[:, None], columns])
        return torch.stack(found)

    def add(self, outputs: Tensor, numbers: range, total: Tensor) -> None:
        """Add the predictions for these windows to the average.

        Args:
            outputs: shape (N, C, h, w).
            numbers: of the windows.
            total: the average, at first zeros, shape (B, C, H, W).
        """
        for output, n in zip(outputs, numbers, strict=True):
            window, image = divmod(n, len(total))
            rows, columns, weights = self._at(window)
            total[image][:, rows[:, None], columns] += output * weights.to(total)

    def _at(self, window: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows, the columns and the weights (h, w) of a window."""
        row, column = divmod(window, len(self._columns.places))
        weights = torch.outer(self._rows.weights[row], self._columns.weights[column])
        return self._rows.places[row], self._columns.places[column], weights


@dataclass(frozen=True)
class _Axis:
    """The windows of an image in one direction."""

    places: Tensor
    """The rows or columns that each window sees, shape (windows, size)."""
    weights: Tensor
    """Their weights; for each row or column, the weights of its windows sum to 1."""

    @classmethod
    def cover(cls, length: int, size: int, overlap: float, *, wraps: bool) -> "_Axis":
        if size >= length:
            return cls(torch.arange(length)[None], torch.ones(1, length))
        stride = max(1, size - round(overlap * size))
        if wraps:
            count = -(-length // stride)
            starts = [i * length // count for i in range(count)]
        else:
            count = 1 - (size - length) // stride
            starts = [i * (length - size) // (count - 1) for i in range(count)]
        places = (torch.tensor(starts)[:, None] + torch.arange(size)) % length
        from_centre = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / size
        weights = torch.exp(-((from_centre / _DEVIATION) ** 2) / 2).expand(count, -1)
        sums = torch.zeros(length, dtype=torch.float64)
        sums.index_add_(0, places.flatten(), weights.flatten())
        return cls(places, (weights / sums[places]).float())


def predict_in_windows(
    predict: Callable[..., Tensor],
    cover: Cover,
    x: Tensor,
    timesteps: Tensor,
    inputs: dict[str, Any],
    size: int,
    on_part: Callable[[int], object],
) -> Tensor:
    """Return the average of a network's predictions for all windows of the images.

    Args:
        predict: the network.
        cover: of one image.
        x: shape (B, C, H, W).
        timesteps: shape (B,).
        inputs: the network's other inputs; tensors have the shape of ``x``.
        size: how many windows are evaluated at once.
        on_part: called after each part with the number of windows so far, over all images.

    Returns:
        Shape (B, out_channels, H, W), float32 or wider.
    """
    batch, _, height, width = x.shape
    total, done = None, 0
    for part in equal_parts(batch * len(cover), size):
        numbers = range(part.start, part.stop)
        more = {
            name: cover.cut(value, numbers) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }
        outputs = predict(cover.cut(x, numbers), timesteps[[n % batch for n in numbers]], **more)
        if total is None:
            wide = torch.promote_types(outputs.dtype, torch.float32)
            total = outputs.new_zeros(batch, outputs.shape[1], height, width, dtype=wide)
        new = slice(done - part.start, None)
        cover.add(outputs[new], numbers[new], total)
        done = part.stop
        on_part(done)
    assert total is not None
    return total
