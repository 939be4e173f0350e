"""The levels of the U: blocks going down, the middle, blocks going up, and their tables.

A new kind of block is one class here (or one file beside this) and one line in a table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .attention import Attention
from .config import UNetConfig
from .errors import ConfigError, shown
from .resnet import Downsample, ResnetBlock, Upsample


@dataclass(frozen=True)
class Level:
    """What a block needs to know of its place in the U."""

    config: UNetConfig
    in_channels: int
    out_channels: int
    is_last: bool
    """True on the level that does not resample: the lowest going down, the highest going up."""
    skip_channels: tuple[int, ...] = ()
    """Channels of the skip connections an up block takes, in the order in which it takes them."""


def _resnet(config: UNetConfig, in_channels: int, out_channels: int, **more: Any) -> ResnetBlock:
    return ResnetBlock(
        in_channels,
        out_channels,
        temb_channels=config.time_channels,
        groups=config.norm_num_groups,
        eps=config.norm_eps,
        dropout=config.dropout,
        **more,
    )


def _attention(config: UNetConfig, channels: int, **more: Any) -> Attention:
    return Attention(
        channels,
        head_dim=config.attention_head_dim,
        groups=config.norm_num_groups,
        eps=config.norm_eps,
        **more,
    )


class DownBlock(nn.Module):
    """``layers_per_block`` resnets, each followed by attention where the kind has it."""

    def __init__(self, level: Level, *, attention: bool, **factory: Any):
        super().__init__()
        config, out = level.config, level.out_channels
        self.resnets = nn.ModuleList(
            _resnet(config, level.in_channels if i == 0 else out, out, **factory)
            for i in range(config.layers_per_block)
        )
        self.attentions = (
            nn.ModuleList(_attention(config, out, **factory) for _ in self.resnets)
            if attention
            else None
        )
        self.downsamplers = (
            None
            if level.is_last
            else nn.ModuleList([Downsample(out, padding=config.downsample_padding, **factory)])
        )

    def forward(self, x: Tensor, temb: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the level's output and what it leaves for the way up."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, temb)
            if self.attentions is not None:
                x = self.attentions[i](x)
            skips.append(x)
        if self.downsamplers is not None:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class UpBlock(nn.Module):
    """One resnet more than the way down, each over the input joined with a skip connection."""

    def __init__(self, level: Level, *, attention: bool, **factory: Any):
        super().__init__()
        config, out = level.config, level.out_channels
        self.resnets = nn.ModuleList(
            _resnet(config, (level.in_channels if i == 0 else out) + skip, out, **factory)
            for i, skip in enumerate(level.skip_channels)
        )
        self.attentions = (
            nn.ModuleList(_attention(config, out, **factory) for _ in self.resnets)
            if attention
            else None
        )
        self.upsamplers = None if level.is_last else nn.ModuleList([Upsample(out, **factory)])

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor) -> Tensor:
        """Consume as many of ``skips``, from its end, as the level has resnets."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat((x, skips.pop()), dim=1), temb)
            if self.attentions is not None:
                x = self.attentions[i](x)
        if self.upsamplers is not None:
            x = self.upsamplers[0](x)
        return x


class MidBlock(nn.Module):
    """Resnet, attention, resnet at the lowest level."""

    def __init__(self, config: UNetConfig, **factory: Any):
        super().__init__()
        channels, scale = config.block_out_channels[-1], config.mid_block_scale_factor
        self.resnets = nn.ModuleList(
            _resnet(config, channels, channels, output_scale_factor=scale, **factory)
            for _ in range(2)
        )
        self.attentions = (
            nn.ModuleList([_attention(config, channels, output_scale_factor=scale, **factory)])
            if config.add_attention
            else None
        )

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        x = self.resnets[0](x, temb)
        if self.attentions is not None:
            x = self.attentions[0](x)
        return self.resnets[1](x, temb)


DOWN_BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "DownBlock2D": partial(DownBlock, attention=False),
    "AttnDownBlock2D": partial(DownBlock, attention=True),
}
UP_BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "UpBlock2D": partial(UpBlock, attention=False),
    "AttnUpBlock2D": partial(UpBlock, attention=True),
}


def build_block(
    table: dict[str, Callable[..., nn.Module]], kind: str, level: Level, **factory: Any
) -> nn.Module:
    """Build the block that a configuration calls ``kind``.

    Raises:
        ConfigError: ``kind`` is not in ``table``.
    """
    # Configurations older than diffusers 0.4 write the names with this prefix.
    builder = table.get(kind.removeprefix("UNetRes"))
    if builder is None:
        raise ConfigError(
            f"The block '{shown(kind)}' is not supported. Supported here: {', '.join(table)}."
        )
    return builder(level, **factory)
