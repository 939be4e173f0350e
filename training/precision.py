"""The precision and memory order in which a device trains fastest."""

import contextlib
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor

from ..networks.placement import has_fast_kernels
from ..unet.unet2d import UNet2D
from .options import Precision, TrainingOptions

AutoPrecision = Literal["auto", "float32", "bfloat16"]

_FILTERS_FOR_IMAGES = 50
"""How many times more values the filters may have than the first level's images; measured."""


def resolve_precision(precision: AutoPrecision, device: torch.device) -> Precision:
    """Return the precision; auto is bfloat16 if the device computes it faster than float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "xpu":
        return "bfloat16"
    if device.type == "cpu":
        # Older processors emulate it, ten times slower.
        return "bfloat16" if has_fast_kernels(torch.bfloat16) else "float32"
    return "float32"


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which layers compute in this precision, and sums in float32."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def repeatable(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which equal steps give equal gradients, to the last bit."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )


def image_order(
    network: UNet2D, options: TrainingOptions, device: torch.device
) -> torch.memory_format:
    """Return the fastest memory order of images; filters have the same, but the plain one on a CPU.

    On a CPU, AdamW's fused step copies filters that are not in the plain order. Channels-last
    images are faster, except in bfloat16, where the group norms' backward pass takes ten times as
    long, and except for images so small that reordering the filters costs more.
    """
    if device.type == "mps":
        return torch.contiguous_format
    if device.type != "cpu":
        return torch.channels_last
    config, filters = network.config, sum(value.numel() for value in network.parameters())
    height, width = config.size
    first = (
        options.batch_size // options.micro_batches * height * width * config.block_out_channels[0]
    )
    plain = options.precision == "bfloat16" or filters > _FILTERS_FOR_IMAGES * first
    return torch.contiguous_format if plain else torch.channels_last


@torch.no_grad()
def average_into(averages: list[Tensor], values: list[Tensor], share: float) -> None:
    """Move each average towards its value by ``share``, 0..1; all in one call."""
    torch._foreach_lerp_(averages, values, share)  # pyright: ignore[reportPrivateImportUsage]
