"""The conversion between the model's layout and the host's."""

import numpy as np
import torch
from torch import Tensor


def latent_to_image(samples: Tensor) -> Tensor:
    """Convert model pixels to image values, keeping the channels.

    Args:
        samples: shape (B, C, H, W), model range -1..1; values beyond are clamped.

    Returns:
        float32, shape (B, H, W, C), in 0..1: diffusers' "np" output.
    """
    return (samples.float() / 2 + 0.5).clamp(0, 1).movedim(1, -1).contiguous()


def image_to_latent(images: Tensor) -> Tensor:
    """Convert image values in 0..1, shape (B, H, W, C), to float32 (B, C, H, W) in -1..1."""
    return (images.float() * 2 - 1).movedim(-1, 1).contiguous()


def to_rgb(images: Tensor) -> Tensor:
    """Return the host's IMAGE, shape (B, H, W, 3), for any number of channels.

    One channel is repeated, of more than three the first three count, and a missing blue is 0.
    """
    channels = images.shape[-1]
    if channels == 1:
        return images.expand(*images.shape[:-1], 3).contiguous()
    if channels == 2:
        return torch.cat((images, torch.zeros_like(images[..., :1])), dim=-1)
    return images[..., :3].contiguous()


def to_bytes(image: Tensor) -> np.ndarray:
    """Round values in 0..1 to 8 bits, as diffusers does; the host's own saver truncates."""
    return (image.cpu().numpy() * 255).round().astype(np.uint8)
