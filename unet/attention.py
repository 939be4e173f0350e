"""Self-attention over the pixels of one level."""

from typing import Any

from torch import Tensor, nn

from ..networks.attention import attention
from ..networks.linear import applied
from ..networks.normalization import normalized
from .normalization import group_norm


class Attention(nn.Module):
    """GroupNorm, multi-head attention over H*W positions, and a residual; keeps (B, C, H, W).

    Args:
        head_dim: None means one head over all channels. If it does not divide the channels,
            as many heads are used as fit, and together they are narrower than the channels.
        groups: of the normalisation; None leaves it out.

    Raises:
        ConfigError: the channels cannot be divided into ``groups``.
    """

    def __init__(
        self,
        channels: int,
        *,
        head_dim: int | None,
        groups: int | None,
        eps: float,
        output_scale_factor: float = 1.0,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        head_dim = head_dim or channels
        self.heads = channels // head_dim
        inner = self.heads * head_dim
        self.output_scale_factor = output_scale_factor
        self.group_norm = (
            None
            if groups is None
            else group_norm(groups, channels, eps=eps, operations=operations, **factory)
        )
        self.to_q = operations.Linear(channels, inner, **factory)
        self.to_k = operations.Linear(channels, inner, **factory)
        self.to_v = operations.Linear(channels, inner, **factory)
        # A list with one entry, because the state dict calls the projection `to_out.0`.
        self.to_out = nn.ModuleList([operations.Linear(inner, channels, **factory)])

    @property
    def projections(self) -> tuple[nn.Module, ...]:
        """The layers that ``applied`` computes."""
        return self.to_q, self.to_k, self.to_v, self.to_out[0]

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        hidden = x if self.group_norm is None else normalized(self.group_norm, x)
        # (B, C, H, W) -> (B, H*W, C). Copied once here; otherwise each projection would copy it.
        hidden = hidden.flatten(2).transpose(1, 2).contiguous()
        hidden = attention(
            self._heads(self.to_q, hidden),
            self._heads(self.to_k, hidden),
            self._heads(self.to_v, hidden),
        )
        hidden = applied(self.to_out[0], hidden.transpose(1, 2).flatten(2))
        # (B, H*W, C) -> (B, C, H, W)
        out = x + hidden.transpose(1, 2).reshape(batch, channels, height, width)
        return out if self.output_scale_factor == 1.0 else out / self.output_scale_factor

    def _heads(self, project: nn.Module, hidden: Tensor) -> Tensor:
        """Project (B, H*W, C) to (B, heads, H*W, head_dim)."""
        return applied(project, hidden).unflatten(2, (self.heads, -1)).transpose(1, 2)
