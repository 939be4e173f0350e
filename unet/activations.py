"""The activation functions that a configuration may name."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def _gelu(x: Tensor, inplace: bool = False) -> Tensor:
    # F.gelu has no `inplace` argument.
    return torch.ops.aten.gelu_(x) if inplace else F.gelu(x)


# Each also accepts `inplace`, which overwrites its input.
ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "gelu": _gelu,
    "relu": F.relu,
}
