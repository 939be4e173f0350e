"""Group norm and activation on a CPU, for images in channels-last order.

torch's own kernel adds up the values of a large image one by one, which is inexact (an error of
1e-5 at 256 x 512 pixels), and writes into new memory, which the system first has to provide. In
bfloat16 it is slow for small images.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Callable[..., Tensor]
"""Also accepts ``inplace``, to overwrite its input."""

_LEAST_VALUES = 2**21
"""Of one image. Below, torch's kernel is as fast, and exact enough."""
_BLOCK_VALUES = 2**18
"""Values computed at a time; they should stay in the cache."""
_FEW_PIXELS = 1024
"""With fewer, torch's kernel works channel by channel, which is slow in bfloat16."""


def normalized(
    norm: nn.Module, x: Tensor, activation: Activation | None = None, *, overwrite: bool = False
) -> Tensor:
    """Return ``activation(norm(x))``.

    Args:
        norm: usually a GroupNorm.
        x: shape (B, C, H, W).
        activation: None leaves it out.
        overwrite: whether nobody needs ``x`` afterwards. Ignored where gradients are recorded.
    """
    fast = _fast(norm, x)
    if fast is not None and fast.is_large(x):
        return fast.in_blocks(x, activation, overwrite=overwrite)
    if fast is not None and x.dtype == torch.bfloat16 and x[0, 0].numel() < _FEW_PIXELS:
        return _activated(fast.in_float32(x), activation).to(x.dtype)
    return _activated(norm(x), activation)


def overwrites(norm: nn.Module, x: Tensor) -> bool:
    """Whether ``normalized`` can overwrite x."""
    fast = _fast(norm, x)
    return fast is not None and fast.is_large(x)


def accelerate_norms(network: nn.Module, is_patched: Callable[[nn.Module], bool]) -> None:
    """Let ``normalized`` compute the group norms of a network on a CPU where that is better.

    Args:
        network: its images are in channels-last order.
        is_patched: whether a host computes a layer in another way than from its weights.
    """
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.__dict__["fast"] = FastNorm(module, is_patched)


class FastNorm:
    """Computes a GroupNorm from the layer's own weights, which are read at each call."""

    def __init__(self, layer: nn.GroupNorm, is_patched: Callable[[nn.Module], bool]):
        self._layer, self._is_patched = layer, is_patched

    def applies(self, x: Tensor) -> bool:
        """Whether x, shape (B, C, H, W), and the layer are as they were when it was prepared."""
        weight = self._layer.weight
        return (
            x.dtype == weight.dtype
            and x.device.type == weight.device.type == "cpu"
            and x.is_contiguous(memory_format=torch.channels_last)
            and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and not self._is_patched(self._layer)
        )

    def is_large(self, x: Tensor) -> bool:
        """Whether ``in_blocks`` is better for x than torch's kernel."""
        return x.dtype == torch.float32 and x[0].numel() >= _LEAST_VALUES

    def in_blocks(self, x: Tensor, activation: Activation | None, *, overwrite: bool) -> Tensor:
        """Return the norm of x, then the activation; in the memory of x if ``overwrite``."""
        y = x if overwrite else torch.empty_like(x)
        # (B, C, H, W) -> (H*W, C) for each image
        for pixels, out in zip(_pixels(x), _pixels(y), strict=True):
            scale, shift = self._scale_and_shift(pixels)
            for block, target in zip(_blocks(pixels), _blocks(out), strict=True):
                torch.addcmul(shift, block, scale, out=target)
                if activation is not None:
                    activation(target, inplace=True)
        return y

    def in_float32(self, x: Tensor) -> Tensor:
        """Return the norm of x in float32."""
        layer = self._layer
        weight, bias = layer.weight.float(), layer.bias.float()
        return F.group_norm(x.float(), layer.num_groups, weight, bias, layer.eps)

    def _scale_and_shift(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each channel what the norm multiplies by and adds, shape (C,)."""
        layer = self._layer
        # Sums of blocks, in float64: the square of the mean is subtracted.
        sums = [torch.stack((b.sum(0), b.square().sum(0))).double() for b in _blocks(pixels)]
        total = torch.stack(sums).sum(0).view(2, layer.num_groups, -1)
        mean, square = total.mean(2) / len(pixels)
        deviation = (square - mean**2).clamp(min=0).add(layer.eps).sqrt()
        scale = layer.weight.view(layer.num_groups, -1) / deviation[:, None]
        shift = layer.bias.view_as(scale) - mean[:, None] * scale
        return scale.flatten().float(), shift.flatten().float()


def _fast(norm: nn.Module, x: Tensor) -> FastNorm | None:
    fast: FastNorm | None = norm.__dict__.get("fast")
    return fast if fast is not None and fast.applies(x) else None


def _pixels(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _blocks(pixels: Tensor) -> tuple[Tensor, ...]:
    return pixels.split(max(1, _BLOCK_VALUES // pixels.shape[1]))


def _activated(x: Tensor, activation: Activation | None) -> Tensor:
    # Training needs the output of the norm; otherwise the activation may overwrite it.
    return x if activation is None else activation(x, inplace=not torch.is_grad_enabled())
