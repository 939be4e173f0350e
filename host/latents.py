"""LATENTs for our samplers: pixels, with the model's own channels and size."""

from typing import Any

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .our_model import check_size, unconditional_model

# A key in the host's empty latents: the side of one entry in pixels.
_RATIO = "downscale_ratio_spacial"


def empty_latent(
    patcher: ModelPatcher, batch_size: int, height: int = 0, width: int = 0
) -> dict[str, Any]:
    """Return a LATENT of zeros, shape (B, C, H, W); a side of 0 means the model's own.

    Raises:
        ValueError: the MODEL is of another kind.
        ConfigError: the network cannot halve this size at each level, or its own size is unknown.
    """
    config = unconditional_model(patcher).unet_config
    if not (height and width):
        own_height, own_width = config.size
        height, width = height or own_height, width or own_width
    check_size(patcher, height, width)
    device = comfy.model_management.intermediate_device()
    return {"samples": torch.zeros(batch_size, config.in_channels, height, width, device=device)}


def fit_latent(patcher: ModelPatcher, latent: dict[str, Any]) -> dict[str, Any]:
    """Return a LATENT that fits this model; the host's empty latents get the model's channels.

    Raises:
        ValueError: it is not a batch of images with the model's channels.
        ConfigError: the network cannot halve its size at each level.
    """
    config = unconditional_model(patcher).unet_config
    samples: Tensor = latent["samples"]
    rest = {key: value for key, value in latent.items() if key not in ("samples", _RATIO)}
    if samples.is_nested or samples.ndim != 4:
        raise ValueError(
            "This sampler needs a LATENT of still images (batch, channels, height, width), not "
            f"{'several kinds of data' if samples.is_nested else tuple(samples.shape)}."
        )
    ratio = latent.get(_RATIO) or 1
    if samples.shape[1] != config.in_channels or (ratio != 1 and not samples.any()):
        if samples.any():
            raise ValueError(
                f"This LATENT has {samples.shape[1]} channels, but the model works on pixels with "
                f"{config.in_channels}. Use 'Image to Pixel Latent' or 'Empty Pixel Latent' to "
                "create it; a VAE's latents are not pixels."
            )
        batch, _, height, width = samples.shape
        return {**rest, **empty_latent(patcher, batch, height * ratio, width * ratio)}
    check_size(patcher, *samples.shape[-2:])
    return {**rest, "samples": samples.float()}
