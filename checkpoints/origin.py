"""What is known about a checkpoint's weights and what was assumed; saved as JSON on request."""

import errno
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .files import SCHEDULER_CONFIG, ModelFiles


@dataclass(frozen=True)
class Origin:
    """Where weights come from, and what had to be assumed about them."""

    files: ModelFiles | None = None
    format: str = "diffusers"
    place: str = ""
    """Where they are in their file, as keys joined by dots; "" at the top level."""
    averaged: bool | None = None
    """Whether they are averages over the training (EMA); None if unknown."""
    assumed: dict[str, Any] = field(default_factory=dict)
    """Fields of the configuration that cannot be inferred from the tensors."""
    assumed_schedule: dict[str, Any] = field(default_factory=dict)
    """Assumed entries of a ``scheduler_config.json``."""

    @property
    def json(self) -> Path | None:
        """The file that overrides what was assumed, whether or not it exists."""
        if self.files is None:
            return None
        if self.files.is_single:
            return self.files.weights.with_suffix(".json")
        network = self.files.weights.parent
        pipeline = network.parent
        if network.name in ("unet", "unet_ema") and (pipeline / "model_index.json").is_file():
            return pipeline / "scheduler" / SCHEDULER_CONFIG
        return network / SCHEDULER_CONFIG

    def write_json(self) -> Path | None:
        """Write what was assumed into ``json``; return its path, or None if nothing was assumed.

        Raises:
            FileExistsError: the file exists already; it is not changed.
            OSError: it cannot be written; nothing is left of it.
        """
        if self.files is None or self.json is None or not (self.assumed or self.assumed_schedule):
            return None
        content: dict[str, Any] = dict(self.assumed_schedule)
        if self.files.is_single:
            content = {**self.assumed, "scheduler": content} if content else dict(self.assumed)
        _write_new(self.json, json.dumps(content, indent=2) + "\n")
        return self.json


def _write_new(path: Path, text: str) -> None:
    """Write a new file, completely or not at all."""
    try:
        path.parent.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        try:
            os.link(unfinished, path)  # never replaces a file
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            _write_in_place(path, text)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_in_place(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise
