"""The embeddings of the timestep and the class: a vector each, then a small MLP."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .config import UNetConfig


def sinusoidal_embedding(
    timesteps: Tensor, channels: int, *, flip_sin_to_cos: bool, freq_shift: float
) -> Tensor:
    """Embed timesteps as sines and cosines of geometrically decreasing frequencies.

    (DDPM, section 3.3 and appendix B.)

    Args:
        timesteps: shape (B,), in training steps 0 .. T-1; fractions are allowed.
        channels: width of the result; an odd width is padded with one zero column.
        flip_sin_to_cos: cosines first if True, sines first if False.
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


class PositionalTime(nn.Module):
    """Sinusoids of the timestep; shape (B,) to float32 (B, config.time_input_channels)."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config

    def forward(self, timesteps: Tensor) -> Tensor:
        return sinusoidal_embedding(
            timesteps,
            self.config.time_input_channels,
            flip_sin_to_cos=self.config.flip_sin_to_cos,
            freq_shift=self.config.freq_shift,
        )


class FourierTime(nn.Module):
    """Sinusoids of log sigma at random frequencies (NCSN++); (B,) to float32 (B, 2 channels).

    The sigmas must be above 0.
    """

    def __init__(self, channels: int, **factory: Any):
        super().__init__()
        # Drawn once and never trained.
        frequencies = 16 * torch.randn(channels, **factory)
        self.weight = nn.Parameter(frequencies, requires_grad=False)

    def forward(self, timesteps: Tensor) -> Tensor:
        frequencies = self.weight.to(timesteps.device).float()
        # Angles reach thousands of radians, so rounding, and with it the order, matters here.
        angles = timesteps.float().log()[:, None] * frequencies[None, :] * 2 * math.pi
        return torch.cat((angles.sin(), angles.cos()), dim=-1)


def make_time_projection(config: UNetConfig, *, operations: Any, **factory: Any) -> nn.Module:
    """Build the module that maps a timestep to ``config.time_input_channels`` numbers.

    A learned one is a table and takes an integer dtype.
    """
    if config.time_embedding_type == "fourier":
        return FourierTime(config.time_input_channels // 2, **factory)
    if config.time_embedding_type == "learned":
        return operations.Embedding(
            config.num_train_timesteps, config.time_input_channels, **factory
        )
    return PositionalTime(config)


class MLP(nn.Module):
    """Two linear layers with a SiLU in between; shape (B, in) to (B, out)."""

    def __init__(self, in_channels: int, out_channels: int, *, operations: Any, **factory: Any):
        super().__init__()
        self.linear_1 = operations.Linear(in_channels, out_channels, **factory)
        self.linear_2 = operations.Linear(out_channels, out_channels, **factory)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.linear_2(nn.functional.silu(self.linear_1(embedding)))


class IdentityClass(nn.Module):
    """The labels are the embedding: shape (B, C), or (B,) with one number for all C channels."""

    def forward(self, labels: Tensor) -> Tensor:
        return labels[:, None] if labels.ndim == 1 else labels


def make_class_embedding(config: UNetConfig, **layers: Any) -> nn.Module | None:
    """Build the module whose output is added to the time embedding; None without classes."""
    if config.class_embed_type == "timestep":
        return MLP(config.time_input_channels, config.time_channels, **layers)
    if config.class_embed_type == "identity":
        return IdentityClass()
    if config.num_class_embeds is None:
        return None
    operations = layers.pop("operations")
    return operations.Embedding(config.num_class_embeds, config.time_channels, **layers)
