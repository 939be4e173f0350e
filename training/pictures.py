"""The user's own pictures, and a network to train on them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from ..unet.config import UNetConfig

logger = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

Size = int | tuple[int, int]
"""One side of a square, or (height, width), in pixels."""

_WIDTH_MULTIPLE = 32


@dataclass(frozen=True)
class _Layout:
    """The levels of a network for pictures whose shorter side is at least ``smallest``."""

    smallest: int
    width: int
    multiples: tuple[int, ...]
    """Each level's channels, in widths."""
    attention: int
    """Which level has it."""

    @property
    def divisor(self) -> int:
        return 2 ** (len(self.multiples) - 1)


# The largest has the blocks of diffusers' train_unconditional.py, the next those of
# google/ddpm-cifar10-32.
_LAYOUTS = (
    _Layout(64, 128, (1, 1, 2, 2, 4, 4), attention=4),
    _Layout(32, 128, (1, 2, 2, 2), attention=1),
    _Layout(8, 64, (1, 2, 3), attention=1),
)


def load_pictures(folder: Path, size: Size, channels: Literal[1, 3]) -> Tensor:
    """Read all PNG, JPEG, WebP and BMP pictures below a folder, sorted by their paths.

    Each is turned as its EXIF data says, resized so that its shorter side fits, and cropped to
    its centre. Transparency is ignored. What cannot be read is skipped with a warning.

    Args:
        folder: searched with all its subfolders.
        size: of the result.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 in 0..255, shape (n, channels, height, width).

    Raises:
        ValueError: the folder is missing or holds no readable picture, or the size or the
            channels are impossible.
    """
    height, width = _sides(size)
    if channels not in (1, 3):
        raise ValueError(f"Pictures have 1 channel (grey) or 3 (RGB), not {channels}.")
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    paths = sorted(
        (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )
    pictures = []
    for path in tqdm(paths, desc="Reading pictures", unit="picture"):
        try:
            pictures.append(_read(path, height, width, "L" if channels == 1 else "RGB"))
        except Exception as error:  # Pillow raises many types on a damaged file
            logger.warning("Skipped %s, which cannot be read: %s", path, error)
    if not pictures:
        found = f"none of its {len(paths)} pictures can be read" if paths else "it has no pictures"
        raise ValueError(
            f"There is nothing to train on in {folder}: {found}. Put PNG, JPEG, WebP or BMP files "
            "there."
        )
    return torch.stack(pictures)


def default_unet(size: Size, channels: int, width: int | None = None) -> UNetConfig:
    """Return a sensible network for pictures of this size.

    Args:
        size: of the pictures.
        channels: of the pictures, 1 or 3.
        width: channels of the first level; None takes 128, or 64 for pictures below 32 pixels.

    Raises:
        ValueError: the network cannot have this size or width; the message says which it can.
    """
    h, w = _sides(size)
    layout = next((layout for layout in _LAYOUTS if min(h, w) >= layout.smallest), None)
    if layout is None or h % layout.divisor or w % layout.divisor:
        raise ValueError(
            f"Pictures of {h} x {w} pixels (height x width) do not fit the network. Choose sides "
            f"that are {_allowed_sides()} (the shorter side decides)."
        )
    width = layout.width if width is None else width
    if width < 1 or width % _WIDTH_MULTIPLE:
        raise ValueError(f"The width must be {_WIDTH_MULTIPLE} or a multiple of it, not {width}.")
    down = ["DownBlock2D"] * len(layout.multiples)
    down[layout.attention] = "AttnDownBlock2D"
    return UNetConfig(
        sample_size=h if h == w else (h, w),
        in_channels=channels,
        out_channels=channels,
        down_block_types=tuple(down),
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(down)),
        block_out_channels=tuple(width * multiple for multiple in layout.multiples),
        # At least four channels to a group: with one, a norm would erase a channel's brightness.
        norm_num_groups=min(32, width // 4),
    )


def _sides(size: Size) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"The size of the pictures must be at least 1 pixel, not {size}.")
    return height, width


def _read(path: Path, height: int, width: int, mode: Literal["L", "RGB"]) -> Tensor:
    """Return one picture, uint8, shape (C, height, width)."""
    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file)
    if picture.mode.startswith("I"):  # 16-bit grey, of which convert() would clip all but the black
        picture = Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8))
    picture = ImageOps.fit(picture.convert(mode), (width, height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(picture))
    return pixels[None] if mode == "L" else pixels.permute(2, 0, 1).contiguous()  # HWC to CHW


def _allowed_sides() -> str:
    ranges, above = [], None
    for layout in _LAYOUTS:
        end = "on" if above is None else f"to {above.smallest - layout.divisor}"
        ranges.append(f"multiples of {layout.divisor} from {layout.smallest} {end}")
        above = layout
    return ", ".join(reversed(ranges))
