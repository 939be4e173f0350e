"""Attention over the pixels of one level, full or linear, with learned keys and values."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import ChannelNorm
from .config import LucidrainsConfig


class Attention(nn.Module):
    """A norm over channels, attention and a residual; keeps (B, C, H, W).

    Linear attention (Shen et al. 2021) takes memory in proportion to the pixels, not to their
    square.

    Args:
        level: the level whose entries of the configuration apply.
        channels: of the input.
        is_full: full attention, otherwise linear.
    """

    def __init__(
        self,
        config: LucidrainsConfig,
        level: int,
        channels: int,
        *,
        is_full: bool,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        is_layer = config.attention_norm == "layer"
        self.is_full, self.averages_values = is_full, config.averages_values
        self.heads, width = config.attn_heads[level], config.attn_dim_head[level]
        inner = self.heads * width
        self.norm = ChannelNorm(channels, is_layer=is_layer, **factory)
        self.to_qkv = operations.Conv2d(channels, 3 * inner, 1, bias=False, **factory)
        project = operations.Conv2d(inner, channels, 1, **factory)
        self.to_out = (
            project
            if is_full
            else nn.Sequential(project, ChannelNorm(channels, is_layer=is_layer, **factory))
        )
        count = config.num_mem_kv
        shape = (count, width) if is_full else (width, count)
        self.mem_kv = nn.Parameter(torch.zeros(2, self.heads, *shape, **factory)) if count else None

    def forward(self, x: Tensor) -> Tensor:
        attend = self._full if self.is_full else self._linear
        # (B, 3 * heads * d, H, W) -> three of (B, heads, d, H * W)
        qkv = self.to_qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1))
        hidden = attend(*qkv.unbind(1))
        del qkv  # freed before more is computed
        # (B, heads, d, H * W) -> (B, heads * d, H, W)
        return x + self.to_out(hidden.flatten(1, 2).unflatten(2, x.shape[2:]))

    def _full(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (part.transpose(2, 3) for part in (q, k, v))
        k, v = self._with_memory(k, v, dim=2)
        return F.scaled_dot_product_attention(q, k, v).transpose(2, 3)

    def _linear(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = self._with_memory(k, v, dim=3)
        q = q.softmax(dim=2) * q.shape[2] ** -0.5
        if self.averages_values:
            v = v / v.shape[3]
        context = v @ k.softmax(dim=3).transpose(2, 3)
        return context @ q

    def _with_memory(self, k: Tensor, v: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Put the learned keys and values before those of the pixels, along ``dim``."""
        if self.mem_kv is None:
            return k, v
        memory = self.mem_kv.to(k)[:, None].expand(-1, len(k), -1, -1, -1)
        return torch.cat((memory[0], k), dim=dim), torch.cat((memory[1], v), dim=dim)
