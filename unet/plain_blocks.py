"""The blocks of DDPM and its successors: resnets, attention between them, then resampling.

``resampler`` is "conv" or "resnet"; the last level has none.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..networks.enlarging import enlarged
from .level import Level, make_attention, make_resnet
from .resampling import Downsample, Upsample, average_down


class DownBlock(nn.Module):
    """``layers_per_block`` resnets, each followed by attention if the kind has it."""

    def __init__(self, level: Level, *, attention: bool, resampler: str, **layers: Any):
        super().__init__()
        config, out = level.config, level.out_channels
        self.resnets = nn.ModuleList(
            make_resnet(config, channels, out, **layers) for channels in level.resnet_channels
        )
        self.attentions = _attentions(level, len(self.resnets), attention, layers)
        self.downsamplers = None
        if not level.is_last:
            downsampler = (
                make_resnet(config, out, out, resample=average_down, **layers)
                if resampler == "resnet"
                else Downsample(out, padding=config.downsample_padding, **layers)
            )
            self.downsamplers = nn.ModuleList([downsampler])

    def forward(
        self, x: Tensor, temb: Tensor, image: Tensor
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return the level's output, its skip connections, and ``image`` unchanged."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, temb)
            if self.attentions is not None:
                x = self.attentions[i](x)
            skips.append(x)
        if self.downsamplers is not None:
            x = self.downsamplers[0](x, temb)
            skips.append(x)
        return x, skips, image


class UpBlock(nn.Module):
    """One resnet more than on the way down, each on its input concatenated with a skip."""

    def __init__(self, level: Level, *, attention: bool, resampler: str, **layers: Any):
        super().__init__()
        config, out = level.config, level.out_channels
        self.resnets = nn.ModuleList(
            make_resnet(config, channels, out, **layers) for channels in level.resnet_channels
        )
        self.attentions = _attentions(level, len(self.resnets), attention, layers)
        self.upsamplers = None
        if not level.is_last:
            upsampler = (
                make_resnet(config, out, out, resample=enlarged, **layers)
                if resampler == "resnet"
                else Upsample(out, **layers)
            )
            self.upsamplers = nn.ModuleList([upsampler])

    def forward(
        self, skips: list[Tensor], temb: Tensor, image: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Pop the input, then one skip for each resnet, from the end of ``skips``."""
        x = skips.pop()
        for i, resnet in enumerate(self.resnets):
            x = torch.cat((x, skips.pop()), dim=1)
            x = resnet(x, temb, overwrite=True)
            if self.attentions is not None:
                x = self.attentions[i](x)
        if self.upsamplers is not None:
            x = self.upsamplers[0](x, temb)
        return x, image


def _attentions(
    level: Level, count: int, attention: bool, layers: dict[str, Any]
) -> nn.ModuleList | None:
    if not attention:
        return None
    return nn.ModuleList(
        make_attention(level.config, level.out_channels, level.head_dim, **layers)
        for _ in range(count)
    )
