"""Pictures, animations and arrays in the host's output folder."""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
import psutil
from PIL import Image
from torch import Tensor

from ..host.output_files import OutputFiles
from .animation import still_animation
from .images import to_bytes, to_rgb
from .metadata import GraphMetadata, png_info, webp_exif
from .provenance import Record

_WEBP_SIDE = 16383
"""Pixels that WebP can have on a side."""

_CHANNELS = (1, 3, 4)
"""What a picture can have: grey, RGB, RGBA."""


def save_pictures(
    images: Tensor,
    prefix: str,
    file_format: str,
    *,
    scale: int,
    graph: GraphMetadata,
    records: Sequence[Record | None],
) -> list[dict[str, str]]:
    """Save each image as PNG or lossless WebP.

    Args:
        images: shape (B, H, W, C) in 0..1 with C = 1 (greyscale), 3 or 4 (alpha).
        prefix: file name below the output folder, with the host's ``%date%``-like variables.
        file_format: "png" or "webp".
        scale: whole factor by which the saved picture is larger.
        graph, records: metadata, left out where the host's metadata is disabled.

    Returns:
        What the editor shows: file name, subfolder and type of each picture.

    Raises:
        ValueError: this many channels are no picture, the format holds none so large, or saving
            failed.
    """
    height, width, channels = images.shape[1:]
    _check_picture(file_format, height, width, channels, scale)
    target = OutputFiles.in_output(prefix, height, width)
    return [
        target.write(
            k,
            file_format,
            _saver(_picture(image, scale), file_format, _options(file_format, graph, record)),
        )
        for k, (image, record) in enumerate(zip(images, records, strict=True))
    ]


def save_animations(
    films: Tensor,
    prefix: str,
    *,
    durations: Sequence[int],
    scale: int,
    graph: GraphMetadata,
    records: Sequence[Record | None],
) -> list[dict[str, str]]:
    """Save each film as one animated, lossless WebP that repeats for ever.

    Args:
        films: shape (K, F, H, W, C) in 0..1 with C = 1 (greyscale), 3 or 4 (alpha).
        durations: of each of the F frames, in milliseconds.
        prefix, scale, graph, records: as for ``save_pictures``; one record for each film.

    Returns:
        What the editor shows: file name, subfolder and type of each film.

    Raises:
        ValueError: as for ``save_pictures``, or the memory does not hold all frames of a film.
    """
    height, width, channels = films.shape[2:]
    _check_picture("webp", height, width, channels, scale)
    _check_film(films.shape[1], height * scale, width * scale, channels)
    target = OutputFiles.in_output(prefix, height, width)
    shown = []
    for k, (film, record) in enumerate(zip(films, records, strict=True)):
        shown.append(target.write(k, "webp", _film_saver(film, scale, durations, graph, record)))
    return shown


def _film_saver(
    film: Tensor,
    scale: int,
    durations: Sequence[int],
    graph: GraphMetadata,
    record: Record | None,
) -> Callable[[BinaryIO], object]:
    first, *others = (_picture(frame, scale) for frame in film)
    if not others:
        return _saver(first, "webp", _options("webp", graph, record))
    if all(other == first for other in others):
        whole = still_animation(first, durations, webp_exif(graph, record))
        return lambda file: file.write(whole)
    moving = {"save_all": True, "append_images": others, "duration": list(durations), "loop": 0}
    return _saver(first, "webp", _options("webp", graph, record) | moving)


def save_array(images: Tensor, prefix: str, *, scale: int) -> list[dict[str, str]]:
    """Save (B, H, W, C) images in 0..1 as one float32 ``.npy`` file, and show a picture of each.

    The pictures are in the host's temporary folder: an array cannot be shown.

    Raises:
        ValueError: saving failed.
    """
    height, width = images.shape[1:3]
    array = images.float().cpu().numpy()
    OutputFiles.in_output(prefix, height, width).write(0, "npy", lambda file: np.save(file, array))
    shown = OutputFiles.in_temp(height, width)
    return [
        shown.write(k, "png", _saver(_picture(image, scale), "png", {}))
        for k, image in enumerate(to_rgb(images))
    ]


def _check_picture(file_format: str, height: int, width: int, channels: int, scale: int) -> None:
    """Raise ValueError where a format cannot hold a picture of this size and these channels."""
    if channels not in _CHANNELS:
        raise ValueError(
            f"{file_format} holds 1, 3 or 4 channels, but these images have {channels}. Choose "
            "the format npy."
        )
    height, width = height * scale, width * scale
    if file_format == "webp" and max(height, width) > _WEBP_SIDE:
        raise ValueError(
            f"The picture would have {width} x {height} pixels, and WebP holds {_WEBP_SIDE} on a "
            "side. Choose a smaller scale, other columns where it is a grid, or the format png."
        )
    # Beyond this Pillow takes a picture for an attack and refuses to open it.
    most = 2 * (Image.MAX_IMAGE_PIXELS or 2**62)
    if height * width > most:
        raise ValueError(
            f"The picture would have {width} x {height} pixels, more than ComfyUI can open again "
            f"({most / 1e6:.0f} million). Choose a smaller scale or fewer images."
        )


def _check_film(frames: int, height: int, width: int, channels: int) -> None:
    """Raise ValueError where so many frames do not fit into memory: Pillow wants all at once."""
    needed, free = frames * height * width * channels, psutil.virtual_memory().available
    if needed > free:
        raise ValueError(
            f"An animation of {frames} frames with {width} x {height} pixels needs "
            f"{needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free. Choose a smaller "
            "scale or fewer frames."
        )


def _picture(image: Tensor, scale: int) -> Image.Image:
    pixels = to_bytes(image).repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _saver(
    picture: Image.Image, file_format: str, options: dict[str, Any]
) -> Callable[[BinaryIO], object]:
    return lambda file: picture.save(file, format=file_format, **options)


def _options(file_format: str, graph: GraphMetadata, record: Record | None) -> dict[str, Any]:
    if file_format == "png":
        return {"pnginfo": png_info(graph, record), "compress_level": 4}
    return {"exif": webp_exif(graph, record), "lossless": True, "exact": True}
