"""Pictures and arrays in the host's output folder, whole or not at all."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import folder_paths
import numpy as np
from comfy.cli_args import args
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .images import to_bytes, to_rgb
from .provenance import KEY, Record

# EXIF tags: the editor reads "name:json" from the first two and those below, as the host's own
# WebP files have them.
_EXIF_PROMPT, _EXIF_FIRST_EXTRA, _EXIF_SOFTWARE = 0x0110, 0x010F, 0x0131


@dataclass(frozen=True)
class GraphMetadata:
    """The graph that made a picture, with which it can be dragged back into the editor."""

    prompt: Any = None
    extra: dict[str, Any] | None = None


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
        ValueError: this many channels are no picture, or saving failed.
    """
    channels = images.shape[-1]
    if channels not in (1, 3, 4):
        raise ValueError(
            f"{file_format} holds 1, 3 or 4 channels, but these images have {channels}. Choose "
            "the format npy."
        )
    shown = []
    target = _Target.below(folder_paths.get_output_directory(), "output", prefix, images)
    for k, (image, record) in enumerate(zip(images, records, strict=True)):
        picture = _picture(image, scale)
        options = _SAVE_OPTIONS[file_format](picture, graph, record)
        save = _saver(picture, file_format, options)
        shown.append(target.write(k, file_format, save))
    return shown


def save_array(images: Tensor, prefix: str, *, scale: int) -> list[dict[str, str]]:
    """Save (B, H, W, C) images in 0..1 as one float32 ``.npy`` file, and show a picture of each.

    The pictures are in the host's temporary folder: an array cannot be shown.

    Raises:
        ValueError: saving failed.
    """
    target = _Target.below(folder_paths.get_output_directory(), "output", prefix, images)
    array = images.float().cpu().numpy()
    target.write(0, "npy", lambda file: np.save(file, array))
    shown = _Target.below(folder_paths.get_temp_directory(), "temp", "unconditional", images)
    return [
        shown.write(k, "png", _saver(_picture(image, scale), "png", {}))
        for k, image in enumerate(to_rgb(images))
    ]


@dataclass
class _Target:
    """Numbered files in one folder, as the host names them."""

    folder: Path
    filename: str
    counter: int
    subfolder: str
    kind: str

    @classmethod
    def below(cls, root: str, kind: str, prefix: str, images: Tensor) -> "_Target":
        height, width = images.shape[1:3]
        try:
            folder, filename, counter, subfolder, _ = folder_paths.get_save_image_path(
                prefix, root, width, height
            )
        except OSError as error:
            raise _save_error(Path(root), error) from error
        return cls(Path(folder), filename, counter, subfolder, kind)

    def write(
        self, batch_number: int, extension: str, save: Callable[[BinaryIO], object]
    ) -> dict[str, str]:
        """Write the next file under a temporary name, then give it its own."""
        stem = self.filename.replace("%batch_num%", str(batch_number))
        name = f"{stem}_{self.counter:05}_.{extension}"
        unfinished = self.folder / f"{name}.unfinished"
        try:
            with unfinished.open("wb") as file:
                save(file)
            os.replace(unfinished, self.folder / name)
        except OSError as error:
            raise _save_error(self.folder, error) from error
        finally:
            unfinished.unlink(missing_ok=True)
        self.counter += 1
        return {"filename": name, "subfolder": self.subfolder, "type": self.kind}


def _save_error(folder: Path, error: OSError) -> ValueError:
    return ValueError(
        f"The images cannot be saved in {folder}: {error.strerror or error}. Free some space, "
        "allow writing there, or start ComfyUI with another --output-directory."
    )


def _picture(image: Tensor, scale: int) -> Image.Image:
    pixels = to_bytes(image).repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _saver(
    picture: Image.Image, file_format: str, options: dict[str, Any]
) -> Callable[[BinaryIO], object]:
    return lambda file: picture.save(file, format=file_format, **options)


def _metadata(graph: GraphMetadata, record: Record | None) -> dict[str, Any]:
    """Return what a picture says of itself, by name; nothing where metadata is disabled."""
    if args.disable_metadata:
        return {}
    named = {"prompt": graph.prompt, **(graph.extra or {}), KEY: record}
    return {name: value for name, value in named.items() if value is not None}


def _png_options(
    picture: Image.Image, graph: GraphMetadata, record: Record | None
) -> dict[str, Any]:
    info = PngInfo()
    for name, value in _metadata(graph, record).items():
        info.add_text(name, json.dumps(value))
    return {"pnginfo": info, "compress_level": 4}


def _webp_options(
    picture: Image.Image, graph: GraphMetadata, record: Record | None
) -> dict[str, Any]:
    exif = picture.getexif()
    extra_tag = _EXIF_FIRST_EXTRA
    for name, value in _metadata(graph, record).items():
        tag = {"prompt": _EXIF_PROMPT, KEY: _EXIF_SOFTWARE}.get(name, extra_tag)
        extra_tag -= tag == extra_tag
        exif[tag] = f"{name}:{json.dumps(value)}"
    return {"exif": exif, "lossless": True, "exact": True}


_SAVE_OPTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "png": _png_options,
    "webp": _webp_options,
}
