"""The metadata of a saved picture: the graph, for the editor, and how it was made."""

import json
import logging
import re
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..schedulers.errors import printable
from .provenance import KEY, Record

logger = logging.getLogger(__name__)

# EXIF tags: the editor reads "name:json" from the first two and those below, as in the host's own
# WebP files.
_EXIF_PROMPT, _EXIF_FIRST_EXTRA, _EXIF_SOFTWARE = 0x0110, 0x010F, 0x0131

_NAME = re.compile("[\x20-\x7e\xa0-\xff]{1,79}")  # valid names of text chunks in a PNG


@dataclass(frozen=True)
class GraphMetadata:
    """A picture's graph, from which the editor opens the picture as a workflow."""

    prompt: Any = None
    extra: dict[str, Any] | None = None


def png_info(texts: dict[str, str]) -> PngInfo:
    """Return the metadata of a PNG, as text chunks."""
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    return info


def webp_exif(texts: dict[str, str]) -> Image.Exif:
    """Return the metadata of a WebP, still or animated."""
    exif = Image.Exif()
    extra_tag = _EXIF_FIRST_EXTRA
    for name, text in texts.items():
        tag = {"prompt": _EXIF_PROMPT, KEY: _EXIF_SOFTWARE}.get(name, extra_tag)
        extra_tag -= tag == extra_tag
        exif[tag] = f"{name}:{text}"
    return exif


def read_texts(picture: Image.Image) -> dict[str, str]:
    """Return the metadata of an opened PNG or WebP by name."""
    if picture.format == "PNG":
        picture.load()  # a chunk may come after the pixels
        return {str(name): text for name, text in picture.info.items() if isinstance(text, str)}
    entries = (str(value).partition(":") for value in picture.getexif().values())
    return {name: text for name, separator, text in entries if separator}


def metadata_texts(graph: GraphMetadata, record: Record | None) -> dict[str, str]:
    """Return a picture's metadata as JSON by name.

    Other nodes and clients add entries to the graph's metadata. An entry that a file cannot store
    is left out with a warning; the picture is still saved.
    """
    extra = graph.extra if isinstance(graph.extra, dict) else {}
    texts: dict[str, str] = {}
    for name, value in {"prompt": graph.prompt, **extra, KEY: record}.items():
        if value is None:
            continue
        try:
            if not _NAME.fullmatch(name):
                raise ValueError("its name does not consist of 1 to 79 Latin characters")
            texts[name] = json.dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            reason = printable(str(error))
            logger.warning("The metadata %r is not saved in the pictures: %s", name, reason)
    return texts
