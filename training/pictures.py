"""Reads the user's own pictures into memory, each once, in the form that training needs."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageColor, ImageOps
from torch import Tensor

from .network import SMALLEST_SIDE, Size, sides
from .picture_set import Crop, PictureSet
from .picture_sources import KINDS, PictureFile, PictureTensor, Source, find_files, reason

Colour = tuple[int, int, int]
"""RGB, each 0 to 255."""

WHITE: Colour = (255, 255, 255)

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_GREY_MODES = ("1", "L", "LA", "La")
_SIZE = 64
"""The longest side, in pixels, that is chosen automatically."""
_NAMED = 5
"""How many files a note names."""


def entered_folder(text: str) -> Path:
    """Return the folder that the user entered, without the quotes that file managers copy.

    Raises:
        ValueError: the text is empty.
    """
    text = text.strip().strip("\"'").strip()
    if not text:
        raise ValueError("No folder is entered. Enter the folder with your pictures.")
    return Path(text).expanduser()


def read_folder(
    folder: Path,
    *,
    size: Size | None,
    channels: int | None,
    crop: Crop = "centre",
    background: Colour | None = WHITE,
    multiple: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> PictureSet:
    """Read all pictures below a folder that Pillow can open, sorted by their paths.

    Each is rotated according to its EXIF data. For "centre" it is resized so that it covers the
    size, and cropped to its centre. For "random" it keeps its resolution, and is enlarged only if
    it is smaller than the size. The first frame of an animation is used. Files that cannot be read
    are skipped; the notes name them. Hidden files and folders are ignored.

    Args:
        folder: searched with all its subfolders.
        size: of the network's images. None uses the pictures' size if all have the same, otherwise
            a square with the shorter side of the smallest picture (1 in 20 may be smaller and is
            enlarged); always a square for "random"; at most 64 pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGBA (not premultiplied). None uses 4 if transparency
            is kept and any picture has it, 1 if all pictures are grey, otherwise 3.
        crop: whole pictures, or parts of them.
        background: behind transparent pixels. None keeps the transparency, or means white if
            ``channels`` is 1 or 3. Four channels keep it too. The invisible colour of fully
            transparent pixels is then set to 0.
        multiple: the sides of a chosen size are divisible by this.
        on_progress: called with the number of finished files and of all files; may raise to cancel.

    Raises:
        ValueError: the folder is missing or has no readable picture, or the size or the number of
            channels is not valid.
    """
    files, others = _files_in(folder)
    wish = _Wish(size, channels, crop, background, multiple)
    notes = [f"Ignored files that are not pictures: {others}."] if others else []
    pictures = _read_all([PictureFile(path, folder) for path in files], wish, notes, on_progress)
    if pictures is None:
        found = f"none of its {len(files)} pictures can be read" if files else "it has no pictures"
        raise ValueError(
            f"There is nothing to train on in {folder}: {found}. Put {KINDS} files there."
        )
    return pictures


def survey_folder(
    folder: Path, *, size: Size | None, crop: Crop, multiple: int
) -> tuple[tuple[int, int], int]:
    """Return the size that ``read_folder`` chooses, and how many pictures there are.

    Only the headers of the files are read; some may still be damaged.

    Raises:
        ValueError: as ``read_folder``.
    """
    files, _ = _files_in(folder)
    if size is not None:
        return sides(size), len(files)
    sources = [PictureFile(path, folder) for path in files]
    wish = _Wish(None, None, crop, None, multiple)
    found, chosen, _ = _choose_size(sources, wish, _Counts(), lambda done, total: None)
    return chosen, len(found)


def _files_in(folder: Path) -> tuple[list[Path], str]:
    """Return the pictures in a folder, and the kinds of other files as text for a message."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is a file. Choose the folder with your pictures."
            if folder.exists()
            else f"The folder {folder} does not exist. Choose the folder with your pictures."
        )
    return find_files(folder)


def from_images(
    images: Sequence[Tensor],
    *,
    size: Size | None,
    channels: int | None,
    crop: Crop = "centre",
    background: Colour | None = WHITE,
    multiple: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> PictureSet:
    """Take pictures from batches of images, as ``read_folder`` does from files.

    Args:
        images: each of shape (B, H, W, C), values in 0..1, with 1, 3 or 4 channels; the batches may
            differ in all of these.

    Raises:
        ValueError: as ``read_folder``, or a batch has another shape.
    """
    for batch in images:
        if batch.ndim != 4 or batch.shape[-1] not in _MODES:
            raise ValueError(
                f"Images must have the shape (batch, height, width, channels) with 1, 3 or 4 "
                f"channels, not {tuple(batch.shape)}."
            )
    wish = _Wish(size, channels, crop, background, multiple)
    sources = [
        PictureTensor(image, f"image {i} of input {n}" if len(images) > 1 else f"image {i}")
        for n, batch in enumerate(images, 1)
        for i, image in enumerate(batch, 1)
    ]
    pictures = _read_all(sources, wish, [], on_progress)
    if pictures is None:
        raise ValueError("There are no images to train on. Connect at least one.")
    return pictures


def named_colour(text: str) -> Colour | None:
    """Return the colour with this name or #rrggbb; None if there is none, or it is transparent."""
    try:
        colour = ImageColor.getrgb(text)
    except ValueError:
        return None
    return colour if len(colour) == 3 else None


@dataclass(frozen=True)
class _Wish:
    """What the caller asked for, as in ``read_folder``."""

    size: Size | None
    channels: int | None
    crop: Crop
    background: Colour | None
    multiple: int

    def __post_init__(self) -> None:
        if self.size is not None:
            sides(self.size)
        if self.channels is not None and self.channels not in _MODES:
            raise ValueError(
                f"The number of channels must be 1 (grey), 3 (RGB) or 4 (RGBA), not "
                f"{self.channels}."
            )

    @property
    def keeps_transparency(self) -> bool:
        return self.background is None if self.channels is None else self.channels == 4


@dataclass
class _Counts:
    """Counts of the pictures' properties, for the notes."""

    read: int = 0
    transparent: int = 0
    animated: int = 0
    coloured: int = 0
    enlarged: int = 0
    skipped: list[str] = field(default_factory=list)


def _read_all(
    sources: Sequence[Source],
    wish: _Wish,
    notes: list[str],
    on_progress: Callable[[int, int], None],
) -> PictureSet | None:
    """Return the pictures, with more notes, or None if there are none."""
    counts = _Counts()
    pixels = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        if wish.size is None:
            sources, size, note = _choose_size(sources, wish, counts, on_progress)
            notes += note
        else:
            size = sides(wish.size)
        for done, source in enumerate(sources):
            on_progress(done, len(sources))
            try:
                pixels.append(_read_one(source, size, wish, counts))
            except Exception as error:  # Pillow raises many types on a damaged file
                counts.skipped.append(f"{source.name} ({reason(error)})")
        on_progress(len(sources), len(sources))
    if not pixels:
        return None
    channels = wish.channels or max(picture.shape[0] for picture in pixels)
    for i, picture in enumerate(pixels):  # in place: another list would hold all of them twice
        pixels[i] = _with_channels(picture, channels)
    return PictureSet(pixels, size, wish.crop, notes + _notes(counts, size, channels, wish))


def _choose_size(
    sources: Sequence[Source],
    wish: _Wish,
    counts: _Counts,
    on_progress: Callable[[int, int], None],
) -> tuple[list[Source], tuple[int, int], list[str]]:
    """Return the sources that are pictures, the size for all of them, and a note about it."""
    pictures, found = [], []
    for source in sources:
        on_progress(0, len(sources))
        try:
            found.append(source.sides())
            pictures.append(source)
        except Exception as error:  # as above
            counts.skipped.append(f"{source.name} ({reason(error)})")
    if not found:
        return [], (_SIZE, _SIZE), []

    if len(set(found)) == 1 and wish.crop == "centre":
        own = found[0]
        scale = min(1, _SIZE / max(own))
        h, w = (math.floor(side * scale) for side in own)
        of = f"the pictures have {own[0]} x {own[1]} pixels"
    else:
        # One tiny picture among many should not decide.
        h = w = min(_SIZE, sorted(min(own) for own in found)[len(found) // 20])
        smallest = min(found, key=min)
        of = f"the smallest picture has {smallest[0]} x {smallest[1]} pixels"
    h, w = (max(side // wish.multiple * wish.multiple, _least(wish.multiple)) for side in (h, w))
    if set(found) == {(h, w)}:
        return pictures, (h, w), []
    note = (
        f"The model learns {'crops' if wish.crop == 'random' else 'pictures'} of {h} x {w} (height "
        f"x width), because {of}. Enter a size to choose another."
    )
    return pictures, (h, w), [note]


def _least(multiple: int) -> int:
    return math.ceil(SMALLEST_SIDE / multiple) * multiple


def _read_one(source: Source, size: tuple[int, int], wish: _Wish, counts: _Counts) -> Tensor:
    """Return one picture, uint8 of shape (C, h, w), with as many channels as it needs."""
    picture, is_animated = source.read()
    is_transparent = picture.mode == "RGBA"
    if is_transparent and not wish.keeps_transparency:
        picture = on_background(picture, wish.background or WHITE)
    is_coloured = wish.channels in (None, 1) and picture.mode != "RGBA" and not _is_grey(picture)
    if wish.channels is not None:
        mode = _MODES[wish.channels]
    elif picture.mode == "RGBA":
        mode = "RGBA"
    else:
        mode = "RGB" if is_coloured else "L"
    picture = picture.convert(mode)
    h, w = size
    scale = max(h / picture.height, w / picture.width)
    if wish.crop == "centre":
        picture = ImageOps.fit(picture, (w, h), Image.Resampling.LANCZOS)
    elif scale > 1:
        larger = (max(w, round(picture.width * scale)), max(h, round(picture.height * scale)))
        picture = picture.resize(larger, Image.Resampling.LANCZOS)
    pixels = np.array(picture)
    if mode == "RGBA":
        pixels[pixels[..., 3] == 0] = 0
    counts.read += 1
    counts.transparent += is_transparent
    counts.animated += is_animated
    counts.coloured += is_coloured
    counts.enlarged += scale > 1
    pixels = torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)
    return pixels.clone(memory_format=torch.contiguous_format)


def _notes(counts: _Counts, size: tuple[int, int], channels: int, wish: _Wish) -> list[str]:
    notes = []
    n = counts.read
    if counts.skipped:
        named = ", ".join(counts.skipped[:_NAMED])
        more = len(counts.skipped) - _NAMED
        notes.append(
            f"Skipped {_count(len(counts.skipped), 'picture')} that cannot be read: {named}"
            f"{f', and {more} more' if more > 0 else ''}."
        )
    if counts.animated:
        notes.append(
            f"{counts.animated} of {n} pictures have several frames or pages; the first is used."
        )
    if counts.enlarged:
        notes.append(
            f"{counts.enlarged} of {n} pictures are smaller than {size[0]} x {size[1]} pixels "
            "(height x width) and were enlarged."
        )
    if channels == 4:
        notes.append(
            f"{counts.transparent} of {n} pictures have transparency, which is kept. The colour of "
            "fully transparent pixels is set to 0."
        )
    elif counts.transparent:
        notes.append(
            f"{counts.transparent} of {n} pictures have transparency. Transparent pixels show the "
            f"background, RGB {wish.background or WHITE}."
        )
    if wish.channels == 1 and counts.coloured:
        notes.append(f"{counts.coloured} of {n} pictures have colours and were made grey.")
    elif wish.channels is None and channels == 1:
        notes.append("All pictures are grey, so the model has one channel.")
    return notes


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode in _GREY_MODES:
        return True
    red, green, blue = picture.convert("RGB").split()
    return not (
        ImageChops.difference(red, green).getbbox() or ImageChops.difference(red, blue).getbbox()
    )


def _with_channels(picture: Tensor, channels: int) -> Tensor:
    """Return a uint8 picture with more channels: grey as RGB, RGB as opaque RGBA."""
    if picture.shape[0] == channels:
        return picture
    picture = picture.expand(3, -1, -1)
    if channels == 4:
        picture = torch.cat([picture, torch.full_like(picture[:1], 255)])
    return picture.contiguous()


def on_background(picture: Image.Image, background: Colour) -> Image.Image:
    """Return an RGBA picture as RGB, with a colour behind its transparent pixels."""
    behind = Image.new("RGBA", picture.size, (*background, 255))
    return Image.alpha_composite(behind, picture).convert("RGB")
