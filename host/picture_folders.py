"""Folders and files that the user enters: a full path, or one relative to ComfyUI's folders."""

import os
from pathlib import Path

import folder_paths

from ..schedulers.errors import UserError
from ..training.pictures import entered_folder


def find_entered(text: str, *roots: str) -> Path:
    """Return the path that the user entered: a full one, or the first of these that exists.

    Args:
        text: with or without quotes.
        roots: the ComfyUI folders to look in: "input", "output" or "models".

    Raises:
        ValueError: the text is empty, or there is nothing of this name.
    """
    path = entered_folder(text)
    folders = [_FOLDERS[root]() for root in roots]
    for place in (Path(folder) / path for folder in folders):  # a full path stays unchanged
        if place.exists():
            return place
    where = " and ".join(map(str, folders))
    raise UserError(f"'{text}' was not found. Enter a full path, or one relative to {where}.")


def listing(path: Path) -> list[tuple[str, int, int]]:
    """Return the path, size and time of a file, or of each file below a folder."""
    files = [path] if path.is_file() else [Path(at, n) for at, _, ns in os.walk(path) for n in ns]
    found = []
    for file in files:
        try:
            stat = file.stat()
        except OSError:  # a broken link
            continue
        found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return found


_FOLDERS = {
    "input": folder_paths.get_input_directory,
    "output": folder_paths.get_output_directory,
    "models": lambda: folder_paths.models_dir,
}
