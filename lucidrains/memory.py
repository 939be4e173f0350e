"""How much memory one evaluation of the network takes."""

from dataclasses import dataclass, field
from itertools import pairwise

import torch

from .config import LucidrainsConfig

# Channels that the statistics of a norm take, in float32.
_STATISTICS = 4


def activation_bytes(
    config: LucidrainsConfig, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> int:
    """Return the peak of the intermediate tensors of one forward pass in inference mode.

    The count and the arguments are as for ``unet.memory.activation_bytes``.
    """
    batch, _, height, width = shape
    return batch * dtype.itemsize * _Walk(config, height * width).peak()


@dataclass
class _Walk:
    """A forward pass of one image that only counts tensor elements."""

    config: LucidrainsConfig
    area: int
    skips: list[int] = field(default_factory=list)
    largest: int = 0

    def peak(self) -> int:
        config = self.config
        widths = (config.init_dim, *config.block_out_channels)
        last = len(widths) - 2
        # The time embedding lives from the first level to the last.
        aside = 4 * 4 * config.dim + 4 * max(widths)

        if config.self_condition:
            self._note(3 * config.in_channels, widths[0])
        self.skips.append(widths[0] * self.area)
        for i, (width, below) in enumerate(pairwise(widths)):
            before = width if i else 0  # the first block's input is a skip
            self._note(before, self._block(width))
            self.skips.append(width * self.area)
            self._note(self._block(width))
            self._note(width, self._attention(i, width, is_full=config.full_attn[i]))
            self.skips.append(width * self.area)
            if i < last:
                self._note(width, below / 4)
                self.area //= 4

        middle = widths[-1]
        self._note(middle, self._block(middle))
        self._note(middle, self._attention(last, middle, is_full=True))

        before = middle
        for i in reversed(range(last + 1)):
            width, above = widths[i + 1], widths[i]
            for _ in range(2):
                joined = before + above
                self._note(before, joined)
                self.skips.pop()
                self._note(joined, self._block(width))
                before = width
            self._note(width, self._attention(i, width, is_full=config.full_attn[i]))
            if i > 0:
                self._note(width, 4 * (width + above))
                self.area *= 4
            before = above
        self._note(before, 2 * config.init_dim)
        self.skips.pop()
        self._note(2 * config.init_dim, self._block(config.init_dim))
        return aside + self.largest

    def _note(self, *channels: float) -> None:
        """Record that tensors with these channels are in memory at the same time."""
        self.largest = max(self.largest, sum(self.skips) + round(sum(channels) * self.area))

    def _block(self, out: int) -> int:
        """Channels at the peak of a residual block, beyond its input."""
        return (4 if self.config.resnet_block_groups is None else 3) * out + _STATISTICS

    def _attention(self, level: int, width: int, *, is_full: bool) -> float:
        """Channels at the peak of attention, beyond its input."""
        config = self.config
        inner = config.attn_heads[level] * config.attn_dim_head[level]
        # Keys and values, and a second copy if the learned ones are joined to them.
        joined = inner * (1 + config.num_mem_kv / self.area)
        copies = 2 * joined if config.num_mem_kv else 0
        if is_full:
            attending = 4 * inner + copies
        else:  # the products of keys and values; those are divided by the pixels if averaged
            context = inner * config.attn_dim_head[level] / self.area
            attending = 4 * inner + copies + joined + config.averages_values * inner + context
        return max(2 * width, width + 3 * inner, attending, inner + 3 * width) + _STATISTICS
