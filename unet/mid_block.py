"""The middle of the U."""

from typing import Any

from torch import Tensor, nn

from .config import UNetConfig
from .level import make_attention, make_resnet


class MidBlock(nn.Module):
    """Resnet, attention where the configuration has it, resnet at the lowest level."""

    def __init__(self, config: UNetConfig, **layers: Any):
        super().__init__()
        channels, scale = config.block_out_channels[-1], config.mid_block_scale_factor
        self.resnets = nn.ModuleList(
            make_resnet(config, channels, channels, output_scale_factor=scale, **layers)
            for _ in range(2)
        )
        self.attentions = None
        if config.add_attention:
            groups = config.attn_norm_num_groups
            if groups is None and config.resnet_time_scale_shift == "default":
                groups = config.groups(channels)
            self.attentions = nn.ModuleList(
                [
                    make_attention(
                        config, channels, groups=groups, output_scale_factor=scale, **layers
                    )
                ]
            )

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        x = self.resnets[0](x, temb)
        if self.attentions is not None:
            x = self.attentions[0](x)
        return self.resnets[1](x, temb)
