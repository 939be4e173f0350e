"""Pictures, animations and arrays in the host's output folder."""

from collections.abc import Sequence

import numpy as np
from comfy.cli_args import args
from torch import Tensor

from ..pictures.encoding import check_film, check_picture, film_writer, picture_writer
from ..pictures.images import to_rgb
from ..pictures.metadata import GraphMetadata, metadata_texts
from ..pictures.provenance import Record
from .output_files import OutputFiles


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
        prefix: file name below the output folder; may contain the host's variables like ``%year%``.
        file_format: "png" or "webp".
        scale: whole factor by which the saved picture is enlarged.
        graph, records: metadata; not saved if metadata is disabled in the host.

    Returns:
        What the editor shows: file name, subfolder and type of each picture.

    Raises:
        ValueError: the format does not support this number of channels or this size, or saving
            failed.
    """
    height, width, channels = images.shape[1:]
    check_picture(file_format, height, width, channels, scale)
    target = OutputFiles.in_output(prefix, height, width)
    return [
        target.write(
            k, file_format, picture_writer(image, file_format, scale, _texts(graph, record))
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
    """Save each film as a lossless animated WebP that repeats forever.

    Args:
        films: shape (K, F, H, W, C) in 0..1 with C = 1 (greyscale), 3 or 4 (alpha).
        durations: of each of the F frames, in milliseconds.
        prefix, scale, graph, records: as for ``save_pictures``; one record for each film.

    Returns:
        What the editor shows: file name, subfolder and type of each film.

    Raises:
        ValueError: as for ``save_pictures``, or the frames of a film do not fit into memory.
    """
    height, width, channels = films.shape[2:]
    check_picture("webp", height, width, channels, scale)
    check_film(films.shape[1], height * scale, width * scale, channels)
    target = OutputFiles.in_output(prefix, height, width)
    return [
        target.write(k, "webp", film_writer(film, scale, durations, _texts(graph, record)))
        for k, (film, record) in enumerate(zip(films, records, strict=True))
    ]


def save_array(images: Tensor, prefix: str, *, scale: int) -> list[dict[str, str]]:
    """Save (B, H, W, C) images in 0..1 as one float32 ``.npy`` file, and show a picture of each.

    The pictures go to the host's temporary folder, because an array cannot be shown.

    Raises:
        ValueError: saving failed.
    """
    height, width = images.shape[1:3]
    array = images.float().cpu().numpy()
    OutputFiles.in_output(prefix, height, width).write(0, "npy", lambda file: np.save(file, array))
    shown = OutputFiles.in_temp(height, width)
    return [
        shown.write(k, "png", picture_writer(image, "png", scale, {}))
        for k, image in enumerate(to_rgb(images))
    ]


def _texts(graph: GraphMetadata, record: Record | None) -> dict[str, str]:
    return {} if args.disable_metadata else metadata_texts(graph, record)
