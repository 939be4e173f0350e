"""In which precision and order of memory a device trains fastest."""

import contextlib
from contextlib import AbstractContextManager
from typing import Literal

import torch
from torch import Tensor, nn

from .options import Precision

AutoPrecision = Literal["auto", "float32", "bfloat16"]


def resolve_precision(precision: AutoPrecision, device: torch.device) -> Precision:
    """Return the precision; auto is bfloat16 where the device computes it faster than float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "xpu":
        return "bfloat16"
    if device.type == "cpu":
        # Older processors emulate it, ten times slower. Older versions of torch do not say.
        supports = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return "bfloat16" if supports() else "float32"
    return "float32"


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which layers compute in this precision, and sums in float32."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def repeatable(device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which equal steps give equal gradients, to the last bit."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )


def memory_format(precision: Precision, device: torch.device) -> torch.memory_format:
    """Return the fastest order of images and filters.

    On a CPU that is channels-last, but not in bfloat16: there the group norms' backward pass takes
    ten times as long as in the plain order.
    """
    plain = device.type == "mps" or (device.type == "cpu" and precision == "bfloat16")
    return torch.contiguous_format if plain else torch.channels_last


def arrange(network: nn.Module, order: torch.memory_format) -> None:
    """Put the filters into this order."""
    for tensor in network.parameters():
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=order)


@torch.no_grad()
def average_into(averages: list[Tensor], values: list[Tensor], share: float) -> None:
    """Move each average towards its value by ``share``, 0..1; all in one call."""
    torch._foreach_lerp_(averages, values, share)  # pyright: ignore[reportPrivateImportUsage]
