"""Choose a network for pictures of a size."""

from dataclasses import dataclass
from typing import Literal

from ..unet.config import UNetConfig

NetworkSize = Literal["small", "medium", "large"]

Size = int | tuple[int, int]
"""One side of a square, or (height, width), in pixels."""

SMALLEST_SIDE = 8
"""In pixels: the largest pictures of any network."""

_WIDTH_MULTIPLE = 32
_MOST_POSITIONS = 16 * 16


@dataclass(frozen=True)
class _Layout:
    """The levels of a network for pictures whose shorter side is at least ``smallest``."""

    smallest: int
    width: int
    multiples: tuple[int, ...]
    """Each level's channels, as multiples of ``width``."""
    attention: int | None = None
    """The index of the level with attention; None: chosen by ``_attention_level``."""

    @property
    def divisor(self) -> int:
        return 2 ** (len(self.multiples) - 1)


@dataclass(frozen=True)
class _Network:
    layers: int
    """Blocks on each level."""
    head_dim: int
    layouts: tuple[_Layout, ...]
    """From the largest pictures to the smallest."""


def _compact(width: int) -> tuple[_Layout, ...]:
    """The lowest level has 2 to 15 pixels, so that it sees the whole picture."""
    return (
        _Layout(256, width, (1, 2, 3, 4, 4, 4)),
        _Layout(128, width, (1, 2, 3, 4, 4)),
        _Layout(64, width, (1, 2, 3, 4)),
        _Layout(SMALLEST_SIDE, width, (1, 2, 3)),
    )


_NETWORKS: dict[NetworkSize, _Network] = {
    "small": _Network(1, 32, _compact(32)),
    "medium": _Network(2, 32, _compact(64)),
    # The largest layout has the blocks of diffusers' train_unconditional.py, the next those of
    # google/ddpm-cifar10-32.
    "large": _Network(
        2,
        8,
        (
            _Layout(64, 128, (1, 1, 2, 2, 4, 4), attention=4),
            _Layout(32, 128, (1, 2, 2, 2), attention=1),
            _Layout(SMALLEST_SIDE, 64, (1, 2, 3), attention=1),
        ),
    ),
}


def default_unet(
    size: Size,
    channels: int,
    network: NetworkSize = "large",
    *,
    width: int | None = None,
    attention: bool = True,
) -> UNetConfig:
    """Return a sensible network for pictures of this size.

    Args:
        size: of the pictures.
        channels: of the pictures, 1, 3 or 4.
        network: "small" (2 to 7 million parameters, 3.6 at 64 pixels), "medium" (10 to 40 million)
            or "large" (10 to 114 million).
        width: channels of the first level; None uses 32 for a small network, 64 for a medium one,
            and for a large one 128, or 64 for pictures below 32 pixels.
        attention: False leaves it out, on the levels and in the middle. Each pixel then depends
            only on its surroundings, so a model trained on small crops also draws larger images.

    Raises:
        ValueError: the network cannot have this size or width; the message says which are valid.
    """
    h, w = sides(size)
    layouts = _NETWORKS[network].layouts
    if not attention and network != "large":
        # With three levels a pixel sees about 50 pixels around it, and more sizes are valid.
        layouts = layouts[-1:]
    layout = next((layout for layout in layouts if min(h, w) >= layout.smallest), None)
    if layout is None or h % layout.divisor or w % layout.divisor:
        raise ValueError(
            f"Pictures of {h} x {w} pixels (height x width) do not fit the network. Choose sides "
            f"that are {_allowed_sides(layouts)} (the range depends on the shorter side)."
        )
    width = layout.width if width is None else width
    if width < 1 or width % _WIDTH_MULTIPLE:
        raise ValueError(f"The width must be a multiple of {_WIDTH_MULTIPLE}, not {width}.")
    down = ["DownBlock2D"] * len(layout.multiples)
    if attention:
        level = _attention_level(h, w, layout) if layout.attention is None else layout.attention
        down[level] = "AttnDownBlock2D"
    return UNetConfig(
        sample_size=h if h == w else (h, w),
        in_channels=channels,
        out_channels=channels,
        down_block_types=tuple(down),
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(down)),
        block_out_channels=tuple(width * multiple for multiple in layout.multiples),
        layers_per_block=_NETWORKS[network].layers,
        attention_head_dim=_NETWORKS[network].head_dim,
        add_attention=attention,
        # At least four channels per group: with one, a norm would erase a channel's brightness.
        norm_num_groups=min(32, width // 4),
    )


def size_multiple(network: NetworkSize) -> int:
    """Return a number whose multiples from 8 to 64 pixels are all valid sides of this network."""
    return 8 if network == "large" else 4


def sides(size: Size) -> tuple[int, int]:
    """Return (height, width).

    Raises:
        ValueError: a side is below 1.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"The size of the pictures must be at least 1 pixel, not {size}.")
    return height, width


def _attention_level(height: int, width: int, layout: _Layout) -> int:
    """Return the first level below the highest that has at most 16 x 16 positions, or the last.

    The cost of attention grows with the square of the positions.
    """
    last = len(layout.multiples) - 1
    small = (i for i in range(1, last) if height * width <= _MOST_POSITIONS * 4**i)
    return next(small, last)


def _allowed_sides(layouts: tuple[_Layout, ...]) -> str:
    ranges, above = [], None
    for layout in layouts:
        end = "on" if above is None else f"to {above.smallest - layout.divisor}"
        ranges.append(f"multiples of {layout.divisor} from {layout.smallest} {end}")
        above = layout
    return ", ".join(reversed(ranges))
