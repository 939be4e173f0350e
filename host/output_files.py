"""Numbered files in one of the host's folders, whole or not at all."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import folder_paths


@dataclass
class OutputFiles:
    """Numbered files in one folder, as the host names them."""

    folder: Path
    filename: str
    counter: int
    subfolder: str
    kind: str

    @classmethod
    def in_output(cls, prefix: str, height: int, width: int) -> "OutputFiles":
        """Begin in the host's output folder; ``prefix`` may hold its ``%date%``-like variables.

        Raises:
            ValueError: the folder cannot be made.
        """
        return cls._below(folder_paths.get_output_directory(), "output", prefix, height, width)

    @classmethod
    def in_temp(cls, height: int, width: int) -> "OutputFiles":
        """Begin in the host's temporary folder, for what is only shown.

        Raises:
            ValueError: the folder cannot be made.
        """
        root = folder_paths.get_temp_directory()
        return cls._below(root, "temp", "unconditional", height, width)

    @classmethod
    def _below(cls, root: str, kind: str, prefix: str, height: int, width: int) -> "OutputFiles":
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
        """Write the next file under a temporary name, then give it its own.

        Returns:
            What the editor shows: file name, subfolder and type.

        Raises:
            ValueError: saving failed; nothing of the file is left.
        """
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
