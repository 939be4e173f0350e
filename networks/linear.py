"""Linear layers on a CPU, by oneDNN with the weights in its own order.

In float32 torch's own layers use MKL, which does not use AVX-512 on AMD's processors: for many rows
oneDNN is 2.2 times as fast on Zen 5, and 1.2 times with AVX2. In bfloat16 they use oneDNN, but
reorder the weight at each call.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import prepared
from .prepared import PreparedWeight, PreparedWeights

_LEAST_ROWS = {torch.float32: 64, torch.bfloat16: 1}
"""With fewer, the layer itself is as fast."""


class FastLinear:
    """Computes a linear layer from its own weights; the layer itself handles other calls.

    Args:
        layer: the layer.
        settings: of the whole network.
        is_patched: whether a host computes a layer in another way than from its weights.
    """

    def __init__(
        self,
        layer: nn.Linear,
        settings: PreparedWeights,
        is_patched: Callable[[nn.Module], bool],
    ):
        self._layer, self._is_patched = layer, is_patched
        self._prepared = PreparedWeight(layer, settings, self._nbytes)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's result for x, shape (..., in_features)."""
        layer, rows = self._layer, x.shape[:-1].numel()
        if rows >= _LEAST_ROWS.get(x.dtype, math.inf) and not self._is_patched(layer):
            weight = layer.weight
            copied = self._prepared.get(
                x,
                weight,
                rows,
                lambda: torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows),
            )
            if copied is not None:
                return torch.ops.mkldnn._linear_pointwise(x, copied, layer.bias, "none", [], "")
        return layer(x)

    @property
    def bytes_to_make(self) -> int:
        """How much memory the prepared weight will take; 0 once it is made."""
        return self._prepared.bytes_to_make

    def _nbytes(self) -> int:
        return self._layer.weight.nbytes


def applied(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the result of a linear layer for x, shape (..., in_features)."""
    fast: FastLinear | None = layer.__dict__.get("fast")
    return layer(x) if fast is None or torch.compiler.is_compiling() else fast(x)


def accelerate_linear(
    network: nn.Module, settings: PreparedWeights, is_patched: Callable[[nn.Module], bool]
) -> None:
    """Let ``applied`` compute the layers that a network's modules list as ``projections``."""
    if not prepared.has_kernels():
        return
    for module in network.modules():
        for layer in getattr(module, "projections", ()):
            layer.__dict__["fast"] = FastLinear(layer, settings, is_patched)
