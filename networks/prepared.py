"""Copies of weights in the form that a fast kernel needs, each made once for a layer."""

import functools
import math
import platform
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_RESERVE, _SHARE = 2**30, 0.05
"""The bytes of memory that stay free, and the part of the rest that a layer may take."""


@functools.cache
def has_kernels() -> bool:
    """Whether oneDNN has its kernels for x86, on which all prepared weights rely.

    On other processors it has some of them only as reference code.
    """
    return torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")


@dataclass
class PreparedWeights:
    """Whether the layers of a network may prepare weights, and how much memory there is for them.

    Attributes:
        enabled: false while other code writes into the weights.
        free_memory: in bytes; if it is short, layers use their own weights.
    """

    enabled: bool = True
    free_memory: Callable[[], float] = lambda: math.inf


class PreparedWeight:
    """The copy of one layer's weight, on a CPU.

    It is valid only for the layer's own weight, not for a tensor that a host casts or patches for
    one call, and not where gradients are needed.

    Args:
        layer: with a ``weight``.
        settings: of the whole network.
        nbytes: how much memory a copy takes at most.
    """

    def __init__(
        self,
        layer: nn.Conv2d | nn.Linear,
        settings: PreparedWeights,
        nbytes: Callable[[], int],
    ):
        self._layer, self._settings, self._nbytes = layer, settings, nbytes
        self._dtype = layer.weight.dtype
        self.value: Tensor | None = None
        self.made_for: Hashable = None
        """The size of the input that ``value`` is for."""
        self._made_from: Tensor | None = None
        """The weight's memory, kept so that no other weight can be allocated there."""

    def get(
        self, x: Tensor, weight: Tensor, size: Hashable, make: Callable[[], Tensor]
    ) -> Tensor | None:
        """Return the copy for inputs of this size; None: use the layer itself.

        Args:
            x: the input.
            weight: what the layer is called with.
            size: of the input, as far as the copy depends on it.
            make: makes the copy.
        """
        if (
            not self._settings.enabled
            or weight is not self._layer.weight
            or not x.dtype == weight.dtype == self._dtype
            or not x.device.type == weight.device.type == "cpu"
            or (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        ):
            return None
        before = self._made_from
        if (
            before is None
            or before.data_ptr() != weight.data_ptr()
            or before.stride() != weight.stride()
            or self.made_for != size
        ):
            self.value = self._made_from = None
            if self._nbytes() > _SHARE * (self._settings.free_memory() - _RESERVE):
                return None
            self.value = make()
            self._made_from, self.made_for = weight.detach(), size
        return self.value

    @property
    def bytes_to_make(self) -> int:
        """How much memory the copy will take at most; 0 once it is made."""
        return 0 if self.value is not None else self._nbytes()

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the layer makes its own; a tensor in oneDNN's order cannot be copied.
        return {**self.__dict__, "value": None, "_made_from": None}
