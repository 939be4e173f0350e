"""Time as the network sees it: sinusoids (DDPM, section 3.3 and appendix B), then a small MLP."""

import math
from typing import Any

import torch
from torch import Tensor, nn


def sinusoidal_embedding(
    timesteps: Tensor, channels: int, *, flip_sin_to_cos: bool, freq_shift: float
) -> Tensor:
    """Embed timesteps as sines and cosines of geometrically falling frequencies.

    Args:
        timesteps: shape (B,), in training steps 0 .. T-1; fractions are allowed.
        channels: width of the result; an odd width is padded with one zero column.
        flip_sin_to_cos: cosines first where True, sines first where False.
        freq_shift: subtracted from the number of frequencies in the exponent (0 or 1 in practice).

    Returns:
        float32, shape (B, channels), values in -1..1.
    """
    half = channels // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    frequencies = torch.exp(exponents * -math.log(10000) / (half - freq_shift))
    angles = timesteps.float()[:, None] * frequencies[None, :]
    waves = (angles.cos(), angles.sin()) if flip_sin_to_cos else (angles.sin(), angles.cos())
    return nn.functional.pad(torch.cat(waves, dim=-1), (0, channels % 2))


class TimeMLP(nn.Module):
    """Two linear layers with a SiLU between; shape (B, in) to (B, out)."""

    def __init__(self, in_channels: int, out_channels: int, *, operations: Any, **factory: Any):
        super().__init__()
        self.linear_1 = operations.Linear(in_channels, out_channels, **factory)
        self.linear_2 = operations.Linear(out_channels, out_channels, **factory)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.linear_2(nn.functional.silu(self.linear_1(embedding)))
