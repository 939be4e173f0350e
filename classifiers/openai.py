"""OpenAI's classifiers of noisy images (guided-diffusion, Dhariwal & Nichol 2021, appendix H).

The encoder half of a UNet with residual blocks that resample, attention, and an attention pool. Its
modules are named as in the files, so these load unchanged. Widths, levels, attention and the
image's size are read from the tensors; heads have 64 channels each, as in all published files
(64x64, 128x128, 256x256 and 512x512_classifier.pt).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoints.formats.conversion import Weights, count, shape_of
from ..networks.errors import CheckpointError
from ..unet.embeddings import sinusoidal_embedding
from .base import Classifier

_GROUPS = 32
_HEAD = 64
"""Channels of a head."""
_POOL = "out.2.positional_embedding"

Device = torch.device | str | None


def matches(names: Iterable[str]) -> bool:
    """Whether the tensors have the names of OpenAI's classifiers with an attention pool."""
    return {"time_embed.0.weight", "input_blocks.0.0.weight", _POOL} <= set(names)


@dataclass(frozen=True)
class OpenAIConfig:
    """What to build.

    Attributes:
        channels: of the images.
        size: height and width of the images, in pixels.
        classes: their number.
        base: width of a timestep's sinusoids.
        first: width of the input convolution.
        widths: of each level; each but the last halves the image.
        layers: residual blocks on each level.
        attention: whether each level has it.
    """

    channels: int
    size: tuple[int, int]
    classes: int
    base: int
    first: int
    widths: tuple[int, ...]
    layers: int
    attention: tuple[bool, ...]

    @classmethod
    def of(cls, weights: Weights) -> "OpenAIConfig":
        """Infer it from the tensors.

        Raises:
            CheckpointError: a required tensor is missing, or they do not form such a network.
        """
        first, channels, *_ = shape_of(weights, "input_blocks.0.0.weight", 4)
        widths, attention = [], []
        for k in range(1, count(weights, "input_blocks.")):
            widths.append(shape_of(weights, f"input_blocks.{k}.0.in_layers.2.weight", 4)[0])
            attention.append(f"input_blocks.{k}.1.qkv.weight" in weights)
        levels, each = _levels(widths, attention)
        starts = range(0, len(widths), each)
        side = math.isqrt(shape_of(weights, _POOL, 2)[1] - 1) * 2 ** (levels - 1)
        return cls(
            channels,
            (side, side),
            shape_of(weights, "out.2.c_proj.weight", 3)[0],
            shape_of(weights, "time_embed.0.weight", 2)[1],
            first,
            tuple(widths[k] for k in starts),
            each - 1,
            tuple(attention[k] for k in starts),
        )


def _levels(widths: list[int], attention: list[bool]) -> tuple[int, int]:
    """Return the number of levels, and of blocks on each but the last, which halves nothing.

    A block that halves the image looks like any other, but has no attention.

    Raises:
        CheckpointError: the blocks do not form levels.
    """
    for levels in range(len(widths) + 1, 0, -1):
        each, rest = divmod(len(widths) + 1, levels)
        if rest or each < 2:
            continue
        parts = [slice(k, k + each - 1) for k in range(0, len(widths), each)]
        if all(len(set(kinds[part])) == 1 for part in parts for kinds in (widths, attention)) and (
            not any(attention[each - 1 :: each])
        ):
            return levels, each
    raise CheckpointError(
        "This classifier's residual blocks do not form levels as in OpenAI's files, so it cannot "
        "be loaded."
    )


class OpenAIClassifier(Classifier):
    """The network; it takes x_t and timesteps."""

    sees_noise = True

    def __init__(self, config: OpenAIConfig, device: Device = None):
        super().__init__()
        self.config = config
        self.channels, self.size, self.classes = config.channels, config.size, config.classes
        time = 4 * config.base
        self.time_embed = nn.Sequential(
            nn.Linear(config.base, time, device=device),
            nn.SiLU(),
            nn.Linear(time, time, device=device),
        )
        width = config.first
        blocks = [_Block(nn.Conv2d(config.channels, width, 3, padding=1, device=device))]
        for level, (wide, attends) in enumerate(zip(config.widths, config.attention, strict=True)):
            for _ in range(config.layers):
                layers: list[nn.Module] = [_Residual(width, wide, time, device=device)]
                layers += [_Attention(wide, device)] if attends else []
                blocks.append(_Block(*layers))
                width = wide
            if level < len(config.widths) - 1:
                blocks.append(_Block(_Residual(width, width, time, halves=True, device=device)))
        self.input_blocks = nn.ModuleList(blocks)
        self.middle_block = _Block(
            _Residual(width, width, time, device=device),
            _Attention(width, device),
            _Residual(width, width, time, device=device),
        )
        side = config.size[0] // 2 ** (len(config.widths) - 1)
        self.out = nn.Sequential(
            nn.GroupNorm(_GROUPS, width, device=device),
            nn.SiLU(),
            _Pool(width, side**2, config.classes, device),
        )

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        assert t is not None
        sinusoids = sinusoidal_embedding(t, self.config.base, flip_sin_to_cos=True, freq_shift=0)
        time = self.time_embed(sinusoids)
        for block in self.input_blocks:
            x = block(x, time)
        return self.out(self.middle_block(x, time))


class _Block(nn.Sequential):
    """Layers, of which the residual ones also take the time."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, time) if isinstance(layer, _Residual) else layer(x)
        return x


class _Residual(nn.Module):
    """Two convolutions; the time scales and shifts between them. It may halve the image first."""

    def __init__(
        self, width: int, wide: int, time: int, *, halves: bool = False, device: Device = None
    ):
        super().__init__()
        self._halves = halves
        self.in_layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, width, device=device),
            nn.SiLU(),
            nn.Conv2d(width, wide, 3, padding=1, device=device),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * wide, device=device))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(_GROUPS, wide, device=device),
            nn.SiLU(),
            nn.Identity(),  # dropout
            nn.Conv2d(wide, wide, 3, padding=1, device=device),
        )
        self.skip_connection = nn.Identity()
        if wide != width:
            self.skip_connection = nn.Conv2d(width, wide, 1, device=device)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        norm, activation, convolution = self.in_layers
        h = activation(norm(x))
        if self._halves:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        scale, shift = self.emb_layers(time)[:, :, None, None].chunk(2, 1)
        norm, *others = self.out_layers
        h = norm(convolution(h)) * (1 + scale) + shift
        for layer in others:
            h = layer(h)
        return self.skip_connection(x) + h


class _Attention(nn.Module):
    """Attention over the pixels; q, k and v of each head are adjacent."""

    def __init__(self, width: int, device: Device):
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, width, device=device)
        self.qkv = nn.Conv1d(width, 3 * width, 1, device=device)
        self.proj_out = nn.Conv1d(width, width, 1, device=device)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2)
        heads = self.qkv(self.norm(pixels)).unflatten(1, (-1, 3, _HEAD)).transpose(3, 4)
        attended = F.scaled_dot_product_attention(*heads.unbind(2))
        return (pixels + self.proj_out(attended.transpose(2, 3).flatten(1, 2))).view_as(x)


class _Pool(nn.Module):
    """The classes, by attention from the mean of all pixels; all q come first, then k, v."""

    def __init__(self, width: int, positions: int, classes: int, device: Device):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(width, positions + 1, device=device))
        self.qkv_proj = nn.Conv1d(width, 3 * width, 1, device=device)
        self.c_proj = nn.Conv1d(width, classes, 1, device=device)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2)
        pixels = torch.cat((pixels.mean(2, keepdim=True), pixels), 2) + self.positional_embedding
        q, k, v = self.qkv_proj(pixels).unflatten(1, (3, -1, _HEAD)).transpose(3, 4).unbind(1)
        mean = F.scaled_dot_product_attention(q[:, :, :1], k, v)
        return self.c_proj(mean.transpose(2, 3).flatten(1, 2)).flatten(1)
