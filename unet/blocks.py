"""The kinds of blocks that a configuration may name.

To add a kind, write a class in a file next to this one, or pass other arguments to an existing
class, and add one line to a table. A down block maps ``(x, temb, image)`` to ``(x, skips, image)``.
An up block maps ``(skips, temb, image)`` to ``(x, image)``. Its input is the last of ``skips``; it
pops it from there, because an argument would stay alive until the block returns. Most blocks pass
the image on unchanged.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ..networks.errors import ConfigError, shown
from .level import Level
from .plain_blocks import DownBlock, UpBlock
from .skip_blocks import SkipDownBlock, SkipUpBlock

Builder = Callable[..., nn.Module]


def _attn_down(level: Level, **layers: Any) -> nn.Module:
    resampler = level.config.downsample_type or "conv"
    return DownBlock(level, attention=True, resampler=resampler, **layers)


def _attn_up(level: Level, **layers: Any) -> nn.Module:
    resampler = level.config.upsample_type or "conv"
    return UpBlock(level, attention=True, resampler=resampler, **layers)


DOWN_BLOCKS: dict[str, Builder] = {
    "DownBlock2D": partial(DownBlock, attention=False, resampler="conv"),
    "ResnetDownsampleBlock2D": partial(DownBlock, attention=False, resampler="resnet"),
    "AttnDownBlock2D": _attn_down,
    "SkipDownBlock2D": partial(SkipDownBlock, attention=False),
    "AttnSkipDownBlock2D": partial(SkipDownBlock, attention=True),
}
UP_BLOCKS: dict[str, Builder] = {
    "UpBlock2D": partial(UpBlock, attention=False, resampler="conv"),
    "ResnetUpsampleBlock2D": partial(UpBlock, attention=False, resampler="resnet"),
    "AttnUpBlock2D": _attn_up,
    "SkipUpBlock2D": partial(SkipUpBlock, attention=False),
    "AttnSkipUpBlock2D": partial(SkipUpBlock, attention=True),
}


def build_block(table: dict[str, Builder], kind: str, level: Level, **layers: Any) -> nn.Module:
    """Build the block that a configuration calls ``kind``.

    Raises:
        ConfigError: ``kind`` is not in ``table``, or its channels do not fit its groups.
    """
    # Configurations from before diffusers 0.4 write the names with this prefix.
    builder = table.get(kind.removeprefix("UNetRes"))
    if builder is None:
        raise ConfigError(
            f"The block '{shown(kind)}' is not supported. Supported blocks: {', '.join(table)}."
        )
    return builder(level, **layers)
