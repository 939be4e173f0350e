"""The residual block and the two resampling layers."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class ResnetBlock(nn.Module):
    """GroupNorm, SiLU, 3x3 convolution, twice, with the time added in between.

    Shapes: x (B, in, H, W) and temb (B, temb_channels) to (B, out, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        temb_channels: int,
        groups: int,
        eps: float,
        dropout: float = 0.0,
        output_scale_factor: float = 1.0,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        self.output_scale_factor = output_scale_factor
        self.norm1 = operations.GroupNorm(groups, in_channels, eps=eps, **factory)
        self.conv1 = operations.Conv2d(in_channels, out_channels, 3, padding=1, **factory)
        self.time_emb_proj = operations.Linear(temb_channels, out_channels, **factory)
        self.norm2 = operations.GroupNorm(groups, out_channels, eps=eps, **factory)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1, **factory)
        self.conv_shortcut = (
            operations.Conv2d(in_channels, out_channels, 1, **factory)
            if in_channels != out_channels
            else None
        )

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = hidden + self.time_emb_proj(F.silu(temb))[:, :, None, None]
        hidden = self.conv2(self.dropout(F.silu(self.norm2(hidden))))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        out = x + hidden
        return out if self.output_scale_factor == 1.0 else out / self.output_scale_factor


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2: (B, C, H, W) to (B, C, H/2, W/2).

    ``padding`` 0 pads one pixel right and below instead of all around, as Ho et al.'s code does.
    """

    def __init__(self, channels: int, *, padding: int, operations: Any, **factory: Any):
        super().__init__()
        self.padding = padding
        self.conv = operations.Conv2d(channels, channels, 3, stride=2, padding=padding, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.padding == 0 else x)


class Upsample(nn.Module):
    """Nearest neighbour to twice the size, then a 3x3 convolution."""

    def __init__(self, channels: int, *, operations: Any, **factory: Any):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
