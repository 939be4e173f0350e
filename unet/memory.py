"""How much memory one evaluation of the network takes."""

from dataclasses import dataclass

import torch

from .config import SKIP_IMAGE_CHANNELS, UNetConfig

# Elements of the NCSN++ filter, times the number of copies in memory while it is built.
_FIR_NUMBERS = 2 * 4 * 4


def activation_bytes(
    config: UNetConfig, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> int:
    """Return the peak of the intermediate tensors of one UNet2D forward pass in inference mode.

    Every tensor that the layers pass on is counted, including the output. Weights, the input and a
    kernel's internal memory are not: the workspace of a convolution, or the matrix of an attention
    whose head width no fused kernel supports (an odd one on a GPU).

    Args:
        shape: of the input, (B, C, H, W); the result is proportional to B.
        dtype: the precision that the network computes in.
    """
    batch, _, height, width = shape
    return batch * dtype.itemsize * _Walk(config, height * width).peak()


@dataclass
class _Walk:
    """A forward pass of one image that only counts tensor elements."""

    config: UNetConfig
    pixels: int
    largest: int = 0

    def peak(self) -> int:
        config, area = self.config, self.pixels
        widths = config.block_out_channels
        kinds = (*config.down_block_types, *config.up_block_types)
        skips = [widths[0] * area]
        # Tensors that live from the first level to the last: the centred input, the image of Skip
        # blocks (before and after a step, and the sum of both), and the time embedding.
        kept = config.in_channels * area if config.center_input_sample else 0
        aside = 4 * config.time_channels + 4 * max(widths)
        if any("Skip" in kind for kind in kinds):
            kept += 3 * SKIP_IMAGE_CHANNELS * area
            aside += _FIR_NUMBERS * max(widths)

        before = widths[0]
        for i, kind in enumerate(config.down_block_types):
            out, skip = widths[i], "Skip" in kind
            for _ in range(config.layers_per_block):
                self._note(skips, _resnet(before, out, area))
                if "Attn" in kind:
                    self._note(skips, _attention(out * area))
                skips.append(out * area)
                before = out
            if i < len(widths) - 1:
                if _is_resnet(kind, config.downsample_type):
                    more = out * area // 4 if skip else 0
                    self._note(skips, more, _resampling_resnet(out, area, area // 4))
                else:  # the whole input is copied for padding
                    self._note(skips, out * area * 2)
                area //= 4
                skips.append(out * area)

        if config.mid_block_type is not None:
            middle = widths[-1] * area
            self._note(skips, middle, _resnet(widths[-1], widths[-1], area))
            if config.add_attention:
                self._note(skips, _attention(middle))

        before = widths[-1]
        for i, kind in enumerate(config.up_block_types):
            out, skip = widths[-1 - i], "Skip" in kind
            for _ in range(config.layers_per_block + 1):
                joined = before * area + skips[-1]
                self._note(skips, before * area, joined)
                channels = before + skips.pop() // area
                self._note(skips, joined, _resnet(channels, out, area))
                if "Attn" in kind and not skip:
                    self._note(skips, _attention(out * area))
                before = out
            if "Attn" in kind and skip:
                self._note(skips, _attention(out * area))
            if i < len(widths) - 1:
                if _is_resnet(kind, config.upsample_type):
                    self._note(skips, out * area, _resampling_resnet(out, area, 4 * area))
                else:
                    self._note(skips, out * area, 2 * out * 4 * area)
                area *= 4
        return kept + aside + self.largest

    def _note(self, skips: list[int], *sizes: int) -> None:
        """Record that these tensors, or layers, are in memory at the same time."""
        self.largest = max(self.largest, sum(skips) + sum(sizes))


def _is_resnet(kind: str, resample_type: str | None) -> bool:
    """Whether a block resamples in a resnet instead of a single convolution."""
    if "Skip" in kind or "Resnet" in kind:
        return True
    return "Attn" in kind and resample_type == "resnet"


def _resnet(channels: int, out: int, area: int) -> int:
    """Peak of a resnet beyond its input: around its first convolution, or at its end."""
    return max(channels + out, 2 * out) * area


def _resampling_resnet(width: int, area: int, new_area: int) -> int:
    """The same for a resnet that resamples both branches first."""
    return width * max(area + 2 * new_area, 3 * new_area)


def _attention(size: int) -> int:
    """Attention's input, normalised input, query, key, value and their result."""
    return 6 * size
