"""How much memory a run takes in ComfyUI, and how many images it therefore evaluates at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import comfy.model_management
import torch
from torch import Tensor

from ..networks.base import Network
from ..networks.batch_parts import equal_part, even_part, fastest_part
from ..networks.windows import Cover

_WINDOW_BYTES = 2**30
"""The maximum memory of the windows that are evaluated at once."""
_KEPT = 12
"""The memory for a gradient through all layers, relative to the peak without one: 10 to 12 for
networks of 16 to 256 pixels."""
_STRIP = 256
"""Rows of a large image that are computed at once."""


@dataclass(frozen=True)
class EvaluationMemory:
    """What evaluations of a network take.

    Attributes:
        network: the network.
        dtype: the precision that it computes in.
    """

    network: Network
    dtype: torch.dtype

    def of_one(self, channels: int, cover: Cover) -> float:
        """Return the bytes that an image takes in the network, or one of its windows."""
        # The copies padded with the opposite side; then the kernels' workspaces.
        padded = 1.7 if any(cover.joined.values()) else 1
        return 1.25 * padded * self._layers(channels, *cover.size)

    def fastest(self, count: int, channels: int, cover: Cover, device: torch.device) -> int:
        """Return how many of ``count`` images or windows to evaluate at once if memory is free."""
        fastest = fastest_part(count, self._layers(channels, *cover.size), device)
        if len(cover) == 1:
            return fastest
        return equal_part(count, min(fastest, int(_WINDOW_BYTES / self.of_one(channels, cover))))

    def at_once(self, x_t: Tensor, cover: Cover) -> int:
        """Return how many images (B, C, H, W) or windows to evaluate with the memory now free."""
        batch, channels, height, width = x_t.shape
        for_one = self.of_one(channels, cover)
        if len(cover) == 1:
            for_one += sampler_bytes(channels, height, width)
        count = batch * len(cover)
        fastest = self.fastest(count, channels, cover, x_t.device)
        return equal_part(count, min(fastest, int(free_memory(x_t.device) / for_one)))

    def with_gradients(self, x: Tensor) -> int:
        """Return for how many images (B, C, H, W) at once there is memory for a gradient."""
        layers = self._layers(*x.shape[1:])
        return even_part(len(x), max(1, int(free_memory(x.device) / (_KEPT * layers))))

    def _layers(self, channels: int, height: int, width: int) -> int:
        return self.network.activation_bytes((1, channels, height, width), self.dtype)


def sampled_at_once(shape: Sequence[int]) -> int:
    """Return how many images (B, C, H, W) of a batch a sampler can hold, 1 .. B."""
    free = free_memory(comfy.model_management.get_torch_device())
    # The other half is for the network.
    return even_part(shape[0], int(0.5 * free / sampler_bytes(*shape[1:])))


def sampler_bytes(channels: int, height: int, width: int) -> int:
    """Return the memory of one image for a sampler's own x, x0, noise and history."""
    return 16 * torch.float64.itemsize * channels * height * width


def free_memory(device: torch.device) -> float:
    """Return how many bytes the host says are free on a device."""
    return cast(float, comfy.model_management.get_free_memory(device))


def strips(x: Tensor) -> Iterator[slice]:
    """Yield the rows of images (B, C, H, W) that are computed at once."""
    return (slice(top, top + _STRIP) for top in range(0, x.shape[2], _STRIP))
