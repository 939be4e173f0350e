"""What a saved picture says of itself: the graph, for the editor, and how it was made."""

import json
from dataclasses import dataclass
from typing import Any

from comfy.cli_args import args
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .provenance import KEY, Record

# EXIF tags: the editor reads "name:json" from the first two and those below, as the host's own
# WebP files have them.
_EXIF_PROMPT, _EXIF_FIRST_EXTRA, _EXIF_SOFTWARE = 0x0110, 0x010F, 0x0131


@dataclass(frozen=True)
class GraphMetadata:
    """The graph that made a picture, with which it can be dragged back into the editor."""

    prompt: Any = None
    extra: dict[str, Any] | None = None


def png_info(graph: GraphMetadata, record: Record | None) -> PngInfo:
    """Return the metadata of a PNG, as text chunks."""
    info = PngInfo()
    for name, value in _metadata(graph, record).items():
        info.add_text(name, json.dumps(value))
    return info


def webp_exif(graph: GraphMetadata, record: Record | None) -> Image.Exif:
    """Return the metadata of a WebP, still or animated."""
    exif = Image.Exif()
    extra_tag = _EXIF_FIRST_EXTRA
    for name, value in _metadata(graph, record).items():
        tag = {"prompt": _EXIF_PROMPT, KEY: _EXIF_SOFTWARE}.get(name, extra_tag)
        extra_tag -= tag == extra_tag
        exif[tag] = f"{name}:{json.dumps(value)}"
    return exif


def _metadata(graph: GraphMetadata, record: Record | None) -> dict[str, Any]:
    """Return what a picture says of itself, by name; nothing where metadata is disabled."""
    if args.disable_metadata:
        return {}
    named = {"prompt": graph.prompt, **(graph.extra or {}), KEY: record}
    return {name: value for name, value in named.items() if value is not None}
