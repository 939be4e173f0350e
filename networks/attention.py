"""Attention on a CPU, in float32 by oneDNN where the heads are wide.

torch's kernel multiplies by MKL, which does not use AVX-512 on AMD's processors: for 256 pixels and
one head of 256 channels oneDNN takes 0.5 of its time on Zen 5, and 0.9 with AVX2.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from . import prepared

_LEAST_PIXELS, _MOST_PIXELS, _LEAST_CHANNELS = 256, 512, 128
"""With fewer pixels or narrower heads there is nothing to gain; with more pixels the weights of all
pairs, which torch's kernel never holds at once, need memory."""


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax(query key^T / sqrt(D)) value; all have the shape (B, heads, pixels, D)."""
    *_, pixels, channels = query.shape
    if (
        torch.compiler.is_compiling()
        or not _LEAST_PIXELS <= pixels <= _MOST_PIXELS
        or channels < _LEAST_CHANNELS
        or query.dtype != torch.float32
        or query.device.type != "cpu"
        or torch.is_grad_enabled()
        or not prepared.has_kernels()
    ):
        return F.scaled_dot_product_attention(query, key, value)
    query = query * channels**-0.5
    heads = zip(*(each.flatten(0, 1) for each in (query, key, value)), strict=True)
    return torch.stack([_of_head(*head) for head in heads]).view(query.shape)


def _of_head(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = torch.softmax(_product(query, key), dim=-1)
    return _product(weights, value.t())


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return a b^T."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
