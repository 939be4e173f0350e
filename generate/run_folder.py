"""A folder of pictures, one for each seed, and their common settings."""

import contextlib
import hashlib
import io
import json
import logging
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..checkpoints.differences import differences
from ..checkpoints.new_files import take_name, unfinished
from ..pictures.encoding import picture_writer
from ..pictures.metadata import GraphMetadata, metadata_texts
from ..pictures.provenance import Record
from ..schedulers.errors import UserError

logger = logging.getLogger(__name__)

RUN = "run.json"
_IN_FOLDER = 1000
"""Pictures per subfolder; file systems and file managers slow down with many more."""


@dataclass(frozen=True)
class RunFolder:
    """Pictures named after their seeds: ``001000/001234.png``, and ``run.json``.

    A picture gets its name when it is complete. ``run.json`` is written once and never changed.
    """

    path: Path

    def begin(self, record: dict[str, Any]) -> None:
        """Write the settings of a new run, or check that they match the run in the folder.

        Args:
            record: the settings, as JSON.

        Raises:
            UserError: the folder has another run, or other files.
            OSError: it cannot be written.
        """
        own = json.loads(json.dumps(record))
        saved = self._read()
        if saved is None:
            if self.path.exists() and any(self.path.iterdir()):
                raise UserError(f"{self.path} has other files, and no {RUN}. Use another folder.")
            self.path.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
            text = json.dumps({**own, "settings_sha256": digest}, indent=2)
            with unfinished(self.path / RUN) as new:
                new.write_text(text + "\n", encoding="utf-8")
                take_name(new, self.path / RUN)
            return
        saved.pop("settings_sha256", None)
        changes = list(differences(saved, own))
        if changes:
            raise UserError(
                f"{self.path} has pictures of another run: {'; '.join(changes)}. Use the same "
                "settings to continue it, or another folder."
            )

    def _read(self) -> dict[str, Any] | None:
        try:
            saved = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            saved = None
        if not isinstance(saved, dict):
            raise UserError(f"{self.path / RUN} is damaged. Use another folder.")
        return saved

    def file_of(self, seed: int) -> Path:
        """Return the path of a seed's picture, whether or not it exists."""
        return self._folder_of(seed // _IN_FOLDER) / f"{seed:06}.png"

    def _folder_of(self, thousand: int) -> Path:
        return self.path / f"{thousand * _IN_FOLDER:06}"

    def missing(self, seeds: Iterable[int]) -> "array[int]":
        """Return the seeds without a picture, or with a damaged one, in order.

        Damaged pictures, and unfinished files of a killed process, are removed.

        Args:
            seeds: ascending.
        """
        found = array("Q")
        for thousand, group in groupby(seeds, key=lambda seed: seed // _IN_FOLDER):
            complete = set(self._complete_in(self._folder_of(thousand)))
            found.extend(seed for seed in group if f"{seed:06}.png" not in complete)
        return found

    @staticmethod
    def _complete_in(folder: Path) -> Iterator[str]:
        if not folder.is_dir():
            return
        for path in folder.iterdir():
            if path.suffix == ".unfinished":
                path.unlink(missing_ok=True)
            elif path.suffix == ".png" and is_whole(path):
                yield path.name
            elif path.suffix == ".png":
                logger.warning("%s is damaged and will be drawn again.", path)
                path.unlink(missing_ok=True)

    def put(self, seed: int, png: bytes) -> None:
        """Write a picture, unless there is one.

        Raises:
            OSError: it cannot be written; nothing of it is left.
        """
        path = self.file_of(seed)
        path.parent.mkdir(exist_ok=True)
        with unfinished(path) as new:
            new.write_bytes(png)
            # Another process may have drawn the same block.
            with contextlib.suppress(FileExistsError):
                take_name(new, path)


def encode(image: Tensor, record: Record) -> bytes:
    """Return a PNG.

    Args:
        image: shape (H, W, C) in 0..1 with 1, 3 or 4 channels.
        record: how it was made; stored in the picture.
    """
    buffer = io.BytesIO()
    picture_writer(image, "png", 1, metadata_texts(GraphMetadata(), record))(buffer)
    return buffer.getvalue()


def is_whole(path: Path) -> bool:
    """Whether a picture can be read: its parts and their checksums, without its pixels."""
    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError):
        return False
    return True
