"""What a block needs to know about its level, and the layers that it builds from that."""

from dataclasses import dataclass
from typing import Any

from .activations import ACTIVATIONS
from .attention import Attention
from .config import UNetConfig
from .resnet import ResnetBlock


@dataclass(frozen=True)
class Level:
    """One level of the U, on the way down or up."""

    config: UNetConfig
    in_channels: int
    out_channels: int
    head_dim: int | None
    """Channels of each attention head; None means one head."""
    is_last: bool
    """True for the level that does not resample: the lowest going down, the highest going up."""
    skip_channels: tuple[int, ...] = ()
    """Channels of the skip connections that an up block takes, in that order."""

    @property
    def resnet_channels(self) -> list[int]:
        """Input channels of each resnet of the level; all return ``out_channels``."""
        skips = self.skip_channels or (0,) * self.config.layers_per_block
        return [
            (self.out_channels if i else self.in_channels) + skip for i, skip in enumerate(skips)
        ]


def make_resnet(
    config: UNetConfig, in_channels: int, out_channels: int, **more: Any
) -> ResnetBlock:
    """Build a resnet for ``config``; ``more`` replaces or adds arguments."""
    arguments: dict[str, Any] = {
        "temb_channels": config.time_channels,
        "groups": config.norm_num_groups,
        "groups_out": config.norm_num_groups,
        "eps": config.norm_eps,
        "activation": ACTIVATIONS[config.act_fn.lower()],
        "scale_shift": config.resnet_time_scale_shift == "scale_shift",
        "dropout": config.dropout,
    }
    return ResnetBlock(in_channels, out_channels, **(arguments | more))


def make_attention(
    config: UNetConfig, channels: int, head_dim: int | None, **more: Any
) -> Attention:
    """Build attention for ``config``; ``more`` replaces or adds arguments."""
    arguments: dict[str, Any] = {
        "head_dim": head_dim,
        "groups": config.norm_num_groups,
        "eps": config.norm_eps,
    }
    return Attention(channels, **(arguments | more))
