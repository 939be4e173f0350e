"""Encode pictures and films as PNG, WebP and animated WebP."""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from PIL import Image
from torch import Tensor

from .animation import still_animation
from .images import to_bytes
from .metadata import png_info, webp_exif

Writer = Callable[[BinaryIO], object]
"""Writes one file."""

_WEBP_SIDE = 16383
"""The maximum width and height of a WebP, in pixels."""

_CHANNELS = (1, 3, 4)
"""Numbers of channels that a picture can have: grey, RGB, RGBA."""


def check_picture(file_format: str, height: int, width: int, channels: int, scale: int) -> None:
    """Raise ValueError if a format does not support this size or number of channels."""
    if channels not in _CHANNELS:
        raise ValueError(
            f"{file_format} supports 1, 3 or 4 channels, but these images have {channels}. Choose "
            "the format npy."
        )
    height, width = height * scale, width * scale
    if file_format == "webp" and max(height, width) > _WEBP_SIDE:
        raise ValueError(
            f"The picture would have {width} x {height} pixels, but the maximum side of a WebP is "
            f"{_WEBP_SIDE}. Choose a smaller scale, other columns for a grid, or the format png."
        )
    # Pillow treats larger pictures as a decompression bomb and does not open them.
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 2**62)
    if height * width > limit:
        raise ValueError(
            f"The picture would have {width} x {height} pixels, more than ComfyUI can open again "
            f"({limit / 1e6:.0f} million). Choose a smaller scale or fewer images."
        )


def check_film(frames: int, height: int, width: int, channels: int) -> None:
    """Raise ValueError if the frames do not fit into memory: Pillow needs all at once."""
    import psutil  # the host has this, and the commands do not need it

    needed, free = frames * height * width * channels, psutil.virtual_memory().available
    if needed > free:
        raise ValueError(
            f"An animation of {frames} frames with {width} x {height} pixels needs "
            f"{needed / 1e9:.1f} GB of memory, but only {free / 1e9:.1f} GB are free. Choose a "
            "smaller scale or fewer frames."
        )


def picture_writer(image: Tensor, file_format: str, scale: int, texts: dict[str, str]) -> Writer:
    """Return a function that writes an image as PNG or lossless WebP.

    Args:
        image: shape (H, W, C) in 0..1 with C = 1 (greyscale), 3 or 4 (alpha).
        file_format: "png" or "webp".
        scale: whole factor by which the picture is enlarged.
        texts: metadata, as from ``metadata_texts``.
    """
    return _writer(_picture(image, scale), file_format, texts)


def film_writer(
    film: Tensor, scale: int, durations: Sequence[int], texts: dict[str, str]
) -> Writer:
    """Return a function that writes a film as a lossless animated WebP that repeats forever.

    Args:
        film: shape (F, H, W, C), as for ``picture_writer``.
        durations: of each of the F frames, in milliseconds.
        scale, texts: as for ``picture_writer``.
    """
    first, *others = (_picture(frame, scale) for frame in film)
    if not others:
        return _writer(first, "webp", texts)
    if all(other == first for other in others):
        whole = still_animation(first, durations, webp_exif(texts))
        return lambda file: file.write(whole)
    moving = {"save_all": True, "append_images": others, "duration": list(durations), "loop": 0}
    return _writer(first, "webp", texts, **moving)


def _picture(image: Tensor, scale: int) -> Image.Image:
    pixels = to_bytes(image).repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _writer(picture: Image.Image, file_format: str, texts: dict[str, str], **more: Any) -> Writer:
    if file_format == "png":
        options = {"pnginfo": png_info(texts), "compress_level": 4}
    else:
        options = {"exif": webp_exif(texts), "lossless": True, "exact": True}
    return lambda file: picture.save(file, format=file_format, **options, **more)
