"""Numbered files in one of the host's folders: complete or absent, and never replaced."""

import errno
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import folder_paths

from ..checkpoints.new_files import is_device_name, is_too_long, take_name, unfinished
from ..schedulers.errors import UserError

_NAME = "unconditional"
"""The file name for prefixes without one, for example "" and "folder/"."""

_BATCH_NUMBER = "%batch_num%"
_VARIABLES = re.compile("%(width|height|year|month|day|hour|minute|second|batch_num)%")
_ENDING = "_00001_.png"
_ON_WINDOWS = os.name == "nt"


@dataclass
class OutputFiles:
    """Numbered files in one folder, named like the host's.

    The host continues from the highest number in the folder. Another host may write there at the
    same time, so a number is only taken once the file has its name.
    """

    folder: Path
    filename: str
    counter: int
    subfolder: str
    kind: str

    @classmethod
    def in_output(cls, prefix: str, height: int, width: int) -> "OutputFiles":
        """Start in the host's output folder; ``prefix`` may contain variables like ``%year%``.

        Raises:
            ValueError: the file name is not valid, or the folder cannot be created.
        """
        check_prefix(prefix)
        return cls._below(folder_paths.get_output_directory(), "output", prefix, height, width)

    @classmethod
    def in_temp(cls, height: int, width: int) -> "OutputFiles":
        """Start in the host's temporary folder, for pictures that are only shown.

        Raises:
            ValueError: the folder cannot be created.
        """
        return cls._below(folder_paths.get_temp_directory(), "temp", _NAME, height, width)

    @classmethod
    def _below(cls, root: str, kind: str, prefix: str, height: int, width: int) -> "OutputFiles":
        prefix = _with_name(prefix)
        try:
            folder, filename, counter, subfolder, _ = folder_paths.get_save_image_path(
                prefix, root, width, height
            )
            if _BATCH_NUMBER in filename:  # which the host does not handle
                counter = _next_number(Path(folder), filename)
        except OSError as error:
            raise _save_error(Path(root, prefix), error) from error
        return cls(Path(folder), filename, counter, subfolder, kind)

    def write(
        self, batch_number: int, extension: str, save: Callable[[BinaryIO], object]
    ) -> dict[str, str]:
        """Write a file under a temporary name, then give it the next free name.

        Returns:
            What the editor shows: file name, subfolder and type.

        Raises:
            ValueError: saving failed; nothing of the file is left.
        """
        stem = self.filename.replace(_BATCH_NUMBER, str(batch_number))
        try:
            with unfinished(self.folder / extension) as path:
                with path.open("xb") as file:
                    save(file)
                name = self._take_next(path, stem, extension)
        except OSError as error:
            raise _save_error(self.folder / stem, error) from error
        return {"filename": name, "subfolder": self.subfolder, "type": self.kind}

    def _take_next(self, path: Path, stem: str, extension: str) -> str:
        while True:
            name = f"{stem}_{self.counter:05}_.{extension}"
            self.counter += 1
            try:
                take_name(path, self.folder / name)
            except FileExistsError:
                continue
            return name


def check_prefix(prefix: str) -> None:
    """Raise ``ValueError`` if it is clear before a run that the prefix is not valid."""
    root = Path(os.path.normpath(folder_paths.get_output_directory()))
    path = os.path.normpath(_with_name(prefix))
    # A variable becomes at least one digit; the exact length is known when the file is written.
    *folders, name = Path(_VARIABLES.sub("0", path)).parts
    parts = (*folders, name + _ENDING)
    if re.search("[\x00-\x1f\ud800-\udfff]", prefix) or (_ON_WINDOWS and _not_on_windows(parts)):
        raise UserError(
            f"filename_prefix {prefix!r:.200} is not a valid file name on this system. Use "
            "letters, digits, - and _, and slashes for folders."
        )
    target = Path(os.path.normpath(root / path))
    # ComfyUI 0.30 also rejects links that lead outside; 0.16.3 does not have this function.
    allows: Any = getattr(folder_paths, "is_within_directory", lambda *_: True)
    if not (target.is_relative_to(root) and allows(str(root), str(target.parent))):
        raise UserError(
            f"filename_prefix {prefix!r:.200} leads outside the output folder {root}. Start "
            "ComfyUI with another --output-directory to save elsewhere."
        )
    if any(is_too_long(part, root) for part in parts):
        raise _too_long(prefix)


def _with_name(prefix: str) -> str:
    """Return a prefix that ends with a file name, not with a folder."""
    *_, name = re.split(r"[/\\]" if _ON_WINDOWS else "/", prefix)
    return f"{prefix or '.'}/{_NAME}" if name in ("", ".", "..") else prefix


def _not_on_windows(parts: Sequence[str]) -> bool:
    return any(re.search(r'[<>:"|?*]', part) or is_device_name(part) for part in parts)


def _next_number(folder: Path, filename: str) -> int:
    """Return the number after the highest in the folder, over all batch numbers."""
    stem = re.escape(filename).replace(re.escape(_BATCH_NUMBER), "[0-9]+")
    matches = (re.match(rf"{stem}_([0-9]+)_", path.name) for path in folder.iterdir())
    return max((int(match[1]) for match in matches if match), default=0) + 1


def _save_error(path: Path, error: OSError) -> ValueError:
    # For a path that is too long, Windows reports that the file does not exist.
    if error.errno == errno.ENAMETOOLONG or (_ON_WINDOWS and len(str(path)) > 240):
        return _too_long(str(path))
    return UserError(
        f"The images cannot be saved in {path.parent}: {error.strerror or error}. Free some space, "
        "allow writing there, or start ComfyUI with another --output-directory."
    )


def _too_long(prefix: str) -> ValueError:
    return UserError(
        f"The file name {prefix[:40]!r}... ({len(prefix)} characters) is too long for the file "
        "system of the output folder. Shorten filename_prefix."
    )
