"""The middle of the network."""

from typing import Any

from torch import Tensor, nn

from .config import UNetConfig
from .level import make_attention, make_resnet


class MidBlock(nn.Module):
    """Resnet, attention if the configuration has it, resnet, at the lowest level."""

    def __init__(self, config: UNetConfig, **layers: Any):
        super().__init__()
        channels, scale = config.block_out_channels[-1], config.mid_block_scale_factor
        groups = config.groups(channels)
        self.resnets = nn.ModuleList(
            make_resnet(
                config,
                channels,
                channels,
                groups=groups,
                groups_out=groups,
                output_scale_factor=scale,
                **layers,
            )
            for _ in range(2)
        )
        self.attentions = None
        if config.add_attention:
            # With scale_shift, attention is normalised only if attn_norm_num_groups is set.
            unset = groups if config.resnet_time_scale_shift == "default" else None
            attention = make_attention(
                config,
                channels,
                config.head_dim(-1),
                groups=config.attn_norm_num_groups or unset,
                output_scale_factor=scale,
                **layers,
            )
            self.attentions = nn.ModuleList([attention])

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        x = self.resnets[0](x, temb)
        if self.attentions is not None:
            x = self.attentions[0](x)
        return self.resnets[1](x, temb)
