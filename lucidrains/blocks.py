"""The time's sinusoids, the norm over channels and the residual block."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.normalization import normalized


class SinusoidalTime(nn.Module):
    """Sines, then cosines of the timestep: shape (B,) to float32 (B, channels).

    The frequencies are computed in the package's order of operations, because at angles of
    hundreds of radians another order changes the fifth digit.
    """

    def __init__(self, channels: int, theta: float):
        super().__init__()
        self.frequencies = channels // 2
        self.exponent = math.log(theta) / (self.frequencies - 1)

    def forward(self, timesteps: Tensor) -> Tensor:
        exponents = torch.arange(self.frequencies, device=timesteps.device) * -self.exponent
        angles = timesteps.float()[:, None] * exponents.exp()[None, :]
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


class ChannelNorm(nn.Module):
    """Normalises the channels of each pixel; keeps (B, C, H, W).

    Divides by their root mean square (Zhang & Sennrich 2019) or, as ``is_layer``, subtracts the
    mean and divides by the standard deviation. Both are computed in float32 at least.
    """

    def __init__(self, channels: int, *, is_layer: bool = False, **factory: Any):
        super().__init__()
        self.is_layer = is_layer
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1, **factory))

    def forward(self, x: Tensor) -> Tensor:
        gain, wide = self.g.to(x), torch.promote_types(x.dtype, torch.float32)
        if self.is_layer:
            variance, mean = torch.var_mean(x.to(wide), dim=1, correction=0, keepdim=True)
            return (x - mean.to(x.dtype)) * (variance + 1e-5).rsqrt().to(x.dtype) * gain
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=wide)
        return x * (x.shape[1] ** 0.5 / norm.clamp(min=1e-12)).to(x.dtype) * gain


class ConvNormSiLU(nn.Module):
    """A 3x3 convolution, a norm, the time's scale and shift, SiLU."""

    def __init__(
        self, channels: int, out: int, *, groups: int | None, operations: Any, **factory: Any
    ):
        super().__init__()
        self.proj = operations.Conv2d(channels, out, 3, padding=1, **factory)
        self.norm = (
            ChannelNorm(out, **factory)
            if groups is None
            else operations.GroupNorm(groups, out, **factory)
        )

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        x = normalized(self.norm, self.proj(x), overwrite=True)
        if time is not None:
            scale, shift = time[:, :, None, None].chunk(2, dim=1)
            x = x * (scale + 1) + shift
        return F.silu(x, inplace=not torch.is_grad_enabled())


class ResidualBlock(nn.Module):
    """Two convolutions and a residual: x (B, in, H, W) and time (B, T) to (B, out, H, W)."""

    def __init__(
        self,
        channels: int,
        out: int,
        *,
        time_channels: int,
        groups: int | None,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        layers: dict[str, Any] = {"groups": groups, "operations": operations, **factory}
        linear = operations.Linear(time_channels, 2 * out, **factory)
        self.mlp = nn.Sequential(nn.SiLU(), linear)
        self.block1 = ConvNormSiLU(channels, out, **layers)
        self.block2 = ConvNormSiLU(out, out, **layers)
        self.res_conv = (
            nn.Identity() if channels == out else operations.Conv2d(channels, out, 1, **factory)
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.block2(self.block1(x, self.mlp(time)))
        return hidden + self.res_conv(x)
