"""Padding at the edges of images: zeros or, if opposite edges are joined, the other side.

A network whose every layer pads with the other side computes on a torus: a shifted input gives a
shifted output, and its images tile without a seam.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Directions = Literal["both", "x", "y", "none"]
"""The directions in which an image tiles: x is left and right, y is top and bottom."""


def continues(directions: Directions, axis: Literal["x", "y"]) -> bool:
    """Whether an image continues in this direction."""
    return directions in (axis, "both")


@dataclass
class Edges:
    """Which opposite edges are joined. A network shares one object with all its layers that pad.

    Attributes:
        x: left and right.
        y: top and bottom.
    """

    x: bool = False
    y: bool = False

    @property
    def are_joined(self) -> bool:
        """Whether any are."""
        return self.x or self.y

    @contextmanager
    def joined(self, *, x: bool, y: bool) -> Iterator[None]:
        """Join edges within the context."""
        before = self.x, self.y
        self.x, self.y = x, y
        try:
            yield
        finally:
            self.x, self.y = before

    def join(
        self, image: Tensor, before: Sequence[int], after: Sequence[int] | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        """Pad an image with the other side where edges are joined.

        Args:
            image: shape (B, C, H, W).
            before: rows above and columns left of it, at most H and W.
            after: rows below and columns right of it; None: the same.

        Returns:
            The padded image, and how many rows and columns of ``after`` still need zeros.
        """
        after = before if after is None else after
        if not self.are_joined:
            return image, (after[0], after[1])
        height, width = image.shape[2:]
        joined = self.y, self.x
        (top, left), (bottom, right) = (
            [count if is_joined else 0 for count, is_joined in zip(counts, joined, strict=True)]
            for counts in (before, after)
        )
        # In one copy that keeps the memory order; F.pad's own "circular" does not.
        padded = F.pad(image, (left, right, top, bottom))
        fill_edges(padded, 2, top, height, bottom)
        fill_edges(padded, 3, left, width, right)
        return padded, (0 if self.y else after[0], 0 if self.x else after[1])


def fill_edges(padded: Tensor, dim: int, before: int, size: int, after: int) -> None:
    """Fill the padding before and after the ``size`` rows of an image with its other side."""
    padded.narrow(dim, 0, before).copy_(padded.narrow(dim, size, before))
    padded.narrow(dim, before + size, after).copy_(padded.narrow(dim, before, after))


class Convolution:
    """Replaces ``_conv_forward`` of a layer, and joins the edges of its input.

    Args:
        layer: a convolution whose padding is zeros.
        edges: of the whole network.
    """

    def __init__(self, layer: nn.Conv2d, edges: Edges):
        self._layer, self._edges = layer, edges

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution of x, shape (B, C, H, W)."""
        layer = self._layer
        if not self._edges.are_joined:
            return type(layer)._conv_forward(layer, x, weight, bias)
        x, zeros = self._edges.join(x, padding_of(layer))
        return F.conv2d(x, weight, bias, layer.stride, zeros, layer.dilation, layer.groups)


def padding_of(layer: nn.Conv2d) -> tuple[int, int]:
    """Return the rows and columns that a layer pads on each side."""
    assert not isinstance(layer.padding, str)
    return layer.padding[0], layer.padding[1]


def share_edges(network: nn.Module, edges: Edges) -> None:
    """Let all layers of a network that pad use ``edges``.

    These are its convolutions, and the modules that have their own ``edges``.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if any(module.padding):
                # The method that torch's layer calls, and a host's layer that casts the weight for
                # each call.
                module.__dict__["_conv_forward"] = Convolution(module, edges)
        elif "edges" in module.__dict__:
            module.__dict__["edges"] = edges
