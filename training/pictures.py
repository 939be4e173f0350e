"""Read the user's own pictures, and choose a network to train on them."""

import logging
from collections import Counter
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

# Pillow's raster formats (EPS, for example, would start Ghostscript). AVIF depends on how Pillow
# was built, HEIF and JXL on plugins.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "PCX", "PNG", "PPM", "QOI"),
    *("SGI", "TGA", "TIFF", "WEBP"),
)
KINDS = "PNG, JPEG, WebP, TIFF, GIF, AVIF or BMP"
"""The usual formats, for messages."""

Colour = tuple[int, int, int]
"""RGB, each 0 to 255."""

Size = int | tuple[int, int]
"""One side of a square, or (height, width), in pixels."""

_WIDTH_MULTIPLE = 32
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class _Layout:
    """The levels of a network for pictures whose shorter side is at least ``smallest``."""

    smallest: int
    width: int
    multiples: tuple[int, ...]
    """Each level's channels, as multiples of ``width``."""
    attention: int
    """The index of the level with attention."""

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


def load_pictures(
    folder: Path, size: Size, channels: Literal[1, 3, 4], background: Colour = (255, 255, 255)
) -> Tensor:
    """Read all pictures below a folder that Pillow can open, sorted by their paths.

    Each is rotated according to its EXIF data, resized so that it covers the size, and cropped to
    its centre. The first frame of an animation is used. Unreadable files are skipped with a
    warning.

    With 1 or 3 channels, transparent pixels show the background. With 4, the transparency is kept,
    and the invisible colour of fully transparent pixels is set to 0.

    Args:
        folder: searched with all its subfolders.
        size: of the result.
        channels: 1 for grey, 3 for RGB, 4 for RGBA (not premultiplied).
        background: behind transparent pixels, for 1 and 3 channels.

    Returns:
        uint8 in 0..255, shape (n, channels, height, width).

    Raises:
        ValueError: the folder is missing or has no readable picture, or the size or the number of
            channels is not valid.
    """
    height, width = _sides(size)
    if channels not in _MODES:
        raise ValueError(
            f"The number of channels must be 1 (grey), 3 (RGB) or 4 (RGBA), not {channels}."
        )
    if not folder.is_dir():
        raise ValueError(f"The folder {folder} does not exist.")
    paths = _picture_paths(folder)
    # Allocated up front: a list of pictures and their stack would need twice the memory.
    pictures = torch.empty(len(paths), channels, height, width, dtype=torch.uint8)
    n = transparent = animated = 0
    for path in tqdm(paths, desc="Reading pictures", unit="picture"):
        try:
            picture, is_animated = _read(path)
            has_alpha = picture.mode == "RGBA"
            if channels != 4:
                picture = _on_background(picture, background)
            picture = picture.convert(_MODES[channels])
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
            pixels = np.array(picture)
        except Exception as error:  # Pillow raises many types on a damaged file
            logger.warning("Skipped %s because it cannot be read: %s", path, error)
            continue
        if channels == 4:
            pixels[pixels[..., 3] == 0] = 0
        pictures[n] = torch.from_numpy(pixels).reshape(height, width, channels).permute(2, 0, 1)
        n += 1
        transparent += has_alpha
        animated += is_animated
    if n == 0:
        found = f"none of its {len(paths)} pictures can be read" if paths else "it has no pictures"
        raise ValueError(
            f"There is nothing to train on in {folder}: {found}. Put {KINDS} files there."
        )
    if animated:
        logger.info(
            "%d of %d pictures have several frames or pages; the first is used.", animated, n
        )
    if channels == 4:
        logger.info(
            "%d of %d pictures have transparency, which is kept. The colour of fully transparent "
            "pixels is set to 0.",
            transparent,
            n,
        )
    elif transparent:
        logger.info(
            "%d of %d pictures have transparency. Transparent pixels show the background, RGB %s. "
            "Choose another with --background, or keep the transparency with --alpha.",
            transparent,
            n,
            background,
        )
    return pictures[:n]


def _picture_paths(folder: Path) -> list[Path]:
    Image.init()  # all of Pillow's formats
    suffixes = {
        suffix
        for suffix, name in Image.registered_extensions().items()
        if name in _FORMATS and name in Image.OPEN
    }
    files = [path for path in folder.rglob("*") if path.is_file()]
    others = Counter(path.suffix.lower() for path in files)
    others = sorted((kind, count) for kind, count in others.items() if kind not in suffixes)
    if others:
        kinds = ", ".join(f"{kind or 'no suffix'} ({count})" for kind, count in others)
        logger.info("Ignored files that are not pictures: %s", kinds)
    return sorted(
        (path for path in files if path.suffix.lower() in suffixes),
        key=lambda path: path.relative_to(folder).as_posix(),
    )


def default_unet(size: Size, channels: int, width: int | None = None) -> UNetConfig:
    """Return a sensible network for pictures of this size.

    Args:
        size: of the pictures.
        channels: of the pictures, 1, 3 or 4.
        width: channels of the first level; None takes 128, or 64 for pictures below 32 pixels.

    Raises:
        ValueError: the network cannot have this size or width; the message says which are valid.
    """
    h, w = _sides(size)
    layout = next((layout for layout in _LAYOUTS if min(h, w) >= layout.smallest), None)
    if layout is None or h % layout.divisor or w % layout.divisor:
        raise ValueError(
            f"Pictures of {h} x {w} pixels (height x width) do not fit the network. Choose sides "
            f"that are {_allowed_sides()} (the range depends on the shorter side)."
        )
    width = layout.width if width is None else width
    if width < 1 or width % _WIDTH_MULTIPLE:
        raise ValueError(f"The width must be a multiple of {_WIDTH_MULTIPLE}, not {width}.")
    down = ["DownBlock2D"] * len(layout.multiples)
    down[layout.attention] = "AttnDownBlock2D"
    return UNetConfig(
        sample_size=h if h == w else (h, w),
        in_channels=channels,
        out_channels=channels,
        down_block_types=tuple(down),
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(down)),
        block_out_channels=tuple(width * multiple for multiple in layout.multiples),
        # At least four channels per group: with one, a norm would erase a channel's brightness.
        norm_num_groups=min(32, width // 4),
    )


def _sides(size: Size) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"The size of the pictures must be at least 1 pixel, not {size}.")
    return height, width


def _read(path: Path) -> tuple[Image.Image, bool]:
    """Return an 8-bit, upright picture, and whether it is the first of several frames.

    Its mode is RGBA only if any part of it is transparent.
    """
    with Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN]) as file:
        is_animated = getattr(file, "is_animated", False)
        picture = ImageOps.exif_transpose(file)
    if picture.mode.startswith(("I", "F")):
        picture = _in_eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema() == (255, 255):
            picture = picture.convert("RGB")
    return picture, is_animated


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """Scale 16-bit grey, or grey floats in 0..1; convert() would clip them."""
    pixels = np.asarray(picture)
    low, high = pixels.min(), pixels.max()
    largest = 1 if picture.mode == "F" else 65535
    if not 0 <= low <= high <= largest:
        raise ValueError(
            f"its values range from {low} to {high}, but only 0 to {largest} is supported for this "
            f"kind of picture ({picture.mode})"
        )
    grey = Image.fromarray((pixels * (255 / largest)).round().astype(np.uint8))
    hidden = picture.info.get("transparency")
    if hidden is not None:
        grey.putalpha(Image.fromarray(np.where(pixels == hidden, 0, 255).astype(np.uint8)))
    return grey


def _on_background(picture: Image.Image, background: Colour) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    behind = Image.new("RGBA", picture.size, (*background, 255))
    return Image.alpha_composite(behind, picture).convert("RGB")


def _allowed_sides() -> str:
    ranges, above = [], None
    for layout in _LAYOUTS:
        end = "on" if above is None else f"to {above.smallest - layout.divisor}"
        ranges.append(f"multiples of {layout.divisor} from {layout.smallest} {end}")
        above = layout
    return ", ".join(reversed(ranges))
