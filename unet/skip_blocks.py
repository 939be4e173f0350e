"""The blocks of NCSN++ (Song et al. 2021), which also pass on the image itself at each size.

On the way down, the downsampled input image is added at every level. On the way up, every level
adds its part to an upsampled image, to which the network's output is added.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.normalization import normalized
from .config import SKIP_IMAGE_CHANNELS
from .level import Level, make_attention, make_resnet
from .normalization import group_norm, quarter_groups
from .resampling import FIRDown, FIRUp
from .resnet import Resample, ResnetBlock

# The sum of two branches of equal variance keeps that variance.
_OUTPUT_SCALE = math.sqrt(2)
_ATTENTION_GROUPS = 32


class SkipDownBlock(nn.Module):
    """Resnets, each followed by attention if the kind has it; then downsampling by 2."""

    def __init__(self, level: Level, *, attention: bool, **layers: Any):
        super().__init__()
        self.resnets = nn.ModuleList(
            _resnet(level, channels, quarter_groups(channels), **layers)
            for channels in level.resnet_channels
        )
        self.attentions = (
            nn.ModuleList(_attention(level, **layers) for _ in self.resnets) if attention else None
        )
        self.fir_down = FIRDown()
        self.resnet_down = self.skip_conv = None
        if not level.is_last:
            self.resnet_down = _resampling_resnet(level, self.fir_down, **layers)
            self.skip_conv = _conv(SKIP_IMAGE_CHANNELS, level.out_channels, 1, **layers)

    def forward(
        self, x: Tensor, temb: Tensor, image: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return the level's output, its skip connections, and the image at its size."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, temb)
            if self.attentions is not None:
                x = self.attentions[i](x)
            skips.append(x)
        if self.resnet_down is not None and self.skip_conv is not None:
            image = self.fir_down(image)
            x = self.skip_conv(image) + self.resnet_down(x, temb)
            skips.append(x)
        return x, skips, image


class SkipUpBlock(nn.Module):
    """Resnets, one attention after all of them if the kind has it; then upsampling by 2."""

    def __init__(self, level: Level, *, attention: bool, **layers: Any):
        super().__init__()
        config, out = level.config, level.out_channels
        resnets = []
        for channels, skip in zip(level.resnet_channels, level.skip_channels, strict=True):
            # A quarter of all channels without attention, but only of the skip's with it: this is
            # how diffusers' models were trained.
            groups = min(channels - skip + skip // 4, 32) if attention else quarter_groups(channels)
            resnets.append(_resnet(level, channels, groups, **layers))
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList([_attention(level, **layers)]) if attention else None
        self.fir_up = FIRUp()
        self.resnet_up = self.skip_norm = self.skip_conv = None
        if not level.is_last:
            self.resnet_up = _resampling_resnet(level, self.fir_up, **layers)
            self.skip_norm = group_norm(quarter_groups(out), out, eps=config.norm_eps, **layers)
            self.skip_conv = _conv(out, SKIP_IMAGE_CHANNELS, 3, **layers)

    def forward(
        self, skips: list[Tensor], temb: Tensor, image: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Pop the input, then one skip for each resnet, from the end of ``skips``.

        Return the output and the image with this level's part added; ``image`` is None before the
        first level that adds to it.
        """
        x = skips.pop()
        for resnet in self.resnets:
            x = torch.cat((x, skips.pop()), dim=1)
            x = resnet(x, temb, overwrite=True)
        if self.attentions is not None:
            x = self.attentions[0](x)
        if image is not None:
            image = self.fir_up(image)
        if self.resnet_up is not None and self.skip_norm is not None and self.skip_conv is not None:
            part = self.skip_conv(normalized(self.skip_norm, x, F.silu))
            image = part if image is None else image + part
            x = self.resnet_up(x, temb)
        return x, image


def _resnet(level: Level, channels: int, groups: int, **more: Any) -> ResnetBlock:
    out = level.out_channels
    return make_resnet(
        level.config,
        channels,
        out,
        groups=groups,
        groups_out=quarter_groups(out),
        output_scale_factor=_OUTPUT_SCALE,
        **more,
    )


def _resampling_resnet(level: Level, resample: Resample, **layers: Any) -> ResnetBlock:
    out = level.out_channels
    return _resnet(
        level, out, quarter_groups(out), resample=resample, always_shortcut=True, **layers
    )


def _attention(level: Level, **layers: Any) -> nn.Module:
    return make_attention(
        level.config,
        level.out_channels,
        level.head_dim,
        groups=_ATTENTION_GROUPS,
        output_scale_factor=_OUTPUT_SCALE,
        **layers,
    )


def _conv(in_channels: int, out_channels: int, size: int, *, operations: Any, **factory: Any):
    return operations.Conv2d(in_channels, out_channels, size, padding=size // 2, **factory)
