"""Conversion between the model's layout and the host's."""

import numpy as np
import torch
from torch import Tensor

# ITU-R BT.601's luminance of red, green and blue: Pillow's "L".
LUMINANCE = (0.299, 0.587, 0.114)


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

    One channel is repeated; of more than three, the first three are used; a missing blue is 0.
    """
    channels = images.shape[-1]
    if channels == 1:
        return images.expand(*images.shape[:-1], 3).contiguous()
    if channels == 2:
        return torch.cat((images, torch.zeros_like(images[..., :1])), dim=-1)
    return images[..., :3].contiguous()


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Convert images to a model's channels.

    Colour becomes grey by its luminance (ITU-R BT.601); grey is repeated for colour. A missing
    alpha is 1; alpha is dropped if the model has none.

    Args:
        images: shape (B, H, W, 1, 3 or 4): grey, RGB or RGBA.
        channels: of the result: 1, 3 or 4.

    Raises:
        ValueError: another number of channels.
    """
    if channels not in (1, 3, 4):
        raise ValueError(
            f"The model has {channels} channels, whose meaning is unknown. Use a model with 1 "
            "(grey), 3 (RGB) or 4 (RGBA) channels for images."
        )
    if images.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"The image has {images.shape[-1]} channels. It must have 1 (grey), 3 (RGB) or 4 "
            "(RGBA)."
        )
    if images.shape[-1] == channels:
        return images
    if channels == 1:
        return (images[..., :3] * images.new_tensor(LUMINANCE)).sum(-1, keepdim=True)
    colour = to_rgb(images)
    return colour if channels == 3 else torch.cat((colour, torch.ones_like(colour[..., :1])), -1)


def to_bytes(image: Tensor) -> np.ndarray:
    """Round values in 0..1 to 8 bits, as diffusers does; the host's own saver truncates."""
    return (image.cpu().numpy() * 255).round().astype(np.uint8)
