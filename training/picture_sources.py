"""The sources of pictures: files, and tensors. Each is opened separately."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

# Pillow's raster formats (EPS, for example, would start Ghostscript). AVIF depends on how Pillow
# was built, HEIF and JXL on plugins.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "PCX", "PNG", "PPM", "QOI"),
    *("SGI", "TGA", "TIFF", "WEBP"),
)
KINDS = "PNG, JPEG, WebP, TIFF, GIF, AVIF or BMP"
"""The usual formats, for messages."""


class Source(Protocol):
    """A picture that has not been read yet."""

    name: str

    def sides(self) -> tuple[int, int]:
        """Return height and width, from the header of the file."""
        ...

    def read(self) -> tuple[Image.Image, bool]:
        """Return an 8-bit, upright picture, and whether it is the first of several frames.

        Its mode is RGBA only if any part of it is transparent.
        """
        ...


class PictureFile:
    """A file below a folder."""

    def __init__(self, path: Path, folder: Path):
        self.path = path
        self.name = path.relative_to(folder).as_posix()

    @contextmanager
    def _open(self) -> Iterator[Image.Image]:
        # A stream, since Pillow mixes up height and width of an uncompressed, rotated TIFF file
        # that it opens by its name and maps into memory (seen in 13.0).
        formats = [name for name in _FORMATS if name in Image.OPEN]
        with self.path.open("rb") as stream, Image.open(stream, formats=formats) as file:
            yield file

    def sides(self) -> tuple[int, int]:
        with self._open() as file:
            width, height = file.size
            if tags := getattr(file, "tag_v2", None):  # TIFF; its size may be upright already
                width, height = tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength]
            # The getexif of PNG files would read all pixels.
            orientation = Image.Image.getexif(file).get(ExifTags.Base.Orientation, 1)
        return (width, height) if orientation in (5, 6, 7, 8) else (height, width)

    def read(self) -> tuple[Image.Image, bool]:
        with self._open() as file:
            is_animated = getattr(file, "is_animated", False)
            picture = ImageOps.exif_transpose(file)
        if picture.mode.startswith(("I", "F")):
            picture = _in_eight_bits(picture)
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            picture = _without_needless_alpha(picture.convert("RGBA"))
        return picture, is_animated


class PictureTensor:
    """An image of shape (H, W, C), values in 0..1, with 1, 3 or 4 channels."""

    def __init__(self, image: Tensor, name: str):
        self.image = image
        self.name = name

    def sides(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def read(self) -> tuple[Image.Image, bool]:
        values = self.image.cpu().float()
        if not values.isfinite().all():
            raise ValueError("it has NaN or infinite values")
        pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        if pixels.shape[-1] == 1:
            return Image.fromarray(pixels[..., 0]), False
        return _without_needless_alpha(Image.fromarray(pixels)), False


def find_files(folder: Path) -> tuple[list[Path], str]:
    """Return the pictures below a folder, sorted, and the kinds of other files as text."""
    Image.init()  # all of Pillow's formats
    suffixes = {
        suffix
        for suffix, name in Image.registered_extensions().items()
        if name in _FORMATS and name in Image.OPEN
    }
    # Hidden ones are thumbnails, or an editor's copies.
    files = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    others = Counter(path.suffix.lower() for path in files)
    others = sorted((kind, count) for kind, count in others.items() if kind not in suffixes)
    kinds = ", ".join(f"{kind or 'no suffix'} ({count})" for kind, count in others)
    pictures = sorted(
        (path for path in files if path.suffix.lower() in suffixes),
        key=lambda path: path.relative_to(folder).as_posix(),
    )
    return pictures, kinds


def reason(error: Exception) -> str:
    """Return why a picture could not be read, for a note."""
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return f"it has more than {most} million pixels"
    if isinstance(error, UnidentifiedImageError):  # its text has the whole path
        return "it is damaged, or not a picture"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _without_needless_alpha(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        return picture.convert("RGB")
    return picture


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
