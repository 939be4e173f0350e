"""Resize any picture to a model's size."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Fit = Literal["crop", "stretch", "keep size"]


def resize(images: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """Return image values at another size; images of that size are not changed.

    Args:
        images: shape (B, H, W, C), in 0..1.
        height: of the result, in pixels.
        width: of the result, in pixels.
        fit: "crop" crops the centre to the proportions of the result before resizing; "stretch"
            does not; "keep size" changes nothing.

    Returns:
        float32, shape (B, height, width, C), in 0..1; (B, H, W, C) with "keep size".
    """
    images = images.float()
    if fit == "crop":
        images = _centre(images, height, width)
    if fit != "keep size" and images.shape[1:3] != (height, width):
        images = F.interpolate(
            images.movedim(-1, 1), (height, width), mode="bicubic", antialias=True
        ).movedim(1, -1)
    return images.clamp(0, 1)


def _centre(images: Tensor, height: int, width: int) -> Tensor:
    """Return the largest centre crop with the proportions of height x width."""
    have_height, have_width = images.shape[1:3]
    scale = min(have_height / height, have_width / width)
    keep_height = min(have_height, max(1, round(height * scale)))
    keep_width = min(have_width, max(1, round(width * scale)))
    top, left = (have_height - keep_height) // 2, (have_width - keep_width) // 2
    return images[:, top : top + keep_height, left : left + keep_width]
