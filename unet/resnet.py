"""The residual block."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .normalization import group_norm

Activation = Callable[..., Tensor]
Resample = Callable[[Tensor], Tensor]


class ResnetBlock(nn.Module):
    """GroupNorm, activation, 3x3 convolution, twice, with the time embedding added in between.

    Shapes: x (B, in, H, W) and temb (B, temb_channels) to (B, out, H, W), or to another size
    with ``resample``.

    Args:
        groups, groups_out: of the first and the second normalisation.
        scale_shift: the time embedding scales and shifts the second normalisation (Dhariwal &
            Nichol 2021) instead of being added before it.
        resample: applied to both branches before the first convolution.
        always_shortcut: use a 1x1 convolution on the residual even if the width does not change.

    Raises:
        ConfigError: the widths cannot be divided into the groups, or ``groups`` is None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        temb_channels: int,
        groups: int | None,
        groups_out: int | None,
        eps: float,
        activation: Activation,
        scale_shift: bool = False,
        dropout: float = 0.0,
        output_scale_factor: float = 1.0,
        resample: Resample | None = None,
        always_shortcut: bool = False,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        layers: dict[str, Any] = {"operations": operations, **factory}
        self.activation = activation
        self.resample = resample
        self.scale_shift = scale_shift
        self.output_scale_factor = output_scale_factor
        self.norm1 = group_norm(groups, in_channels, eps=eps, **layers)
        self.conv1 = operations.Conv2d(in_channels, out_channels, 3, padding=1, **factory)
        self.time_emb_proj = operations.Linear(
            temb_channels, 2 * out_channels if scale_shift else out_channels, **factory
        )
        self.norm2 = group_norm(groups_out, out_channels, eps=eps, **layers)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1, **factory)
        self.conv_shortcut = (
            operations.Conv2d(in_channels, out_channels, 1, **factory)
            if always_shortcut or in_channels != out_channels
            else None
        )

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        # Training needs the output of the norms; otherwise the activation may overwrite it.
        inplace = not torch.is_grad_enabled()
        hidden = self.activation(self.norm1(x), inplace=inplace)
        if self.resample is not None:
            x, hidden = self.resample(x), self.resample(hidden)
        hidden = self.conv1(hidden)
        time = self.time_emb_proj(self.activation(temb))[:, :, None, None]
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)
            hidden = self.norm2(hidden) * (1 + scale) + shift
        else:
            hidden = self.norm2(hidden + time)
        hidden = self.conv2(self.dropout(self.activation(hidden, inplace=inplace)))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        out = x + hidden
        return out if self.output_scale_factor == 1.0 else out / self.output_scale_factor
