"""Self-attention over the pixels of one level."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """GroupNorm, multi-head attention over H*W positions, and a residual; (B, C, H, W) to the same.

    ``head_dim`` None means one head over all channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        head_dim: int | None,
        groups: int,
        eps: float,
        output_scale_factor: float = 1.0,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        self.heads = channels // (head_dim or channels)
        self.output_scale_factor = output_scale_factor
        self.group_norm = operations.GroupNorm(groups, channels, eps=eps, **factory)
        self.to_q = operations.Linear(channels, channels, **factory)
        self.to_k = operations.Linear(channels, channels, **factory)
        self.to_v = operations.Linear(channels, channels, **factory)
        # A list of one: the state dict calls the projection `to_out.0`.
        self.to_out = nn.ModuleList([operations.Linear(channels, channels, **factory)])

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        # (B, C, H, W) -> (B, H*W, C)
        hidden = self.group_norm(x).flatten(2).transpose(1, 2)
        # (B, H*W, C) -> (B, heads, H*W, C / heads)
        query, key, value = (
            project(hidden).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        hidden = F.scaled_dot_product_attention(query, key, value)
        hidden = self.to_out[0](hidden.transpose(1, 2).flatten(2))
        # (B, H*W, C) -> (B, C, H, W)
        out = x + hidden.transpose(1, 2).reshape(batch, channels, height, width)
        return out if self.output_scale_factor == 1.0 else out / self.output_scale_factor
