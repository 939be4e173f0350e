"""The sha256 of a model's files, computed when somebody asks for it."""

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterable
from io import RawIOBase
from pathlib import Path

from .errors import CheckpointError

_CHUNK = 2**20


class FileDigest:
    """The sha256 of some files, one after another, as they were when this was made.

    The files are opened at once, so that a file that replaces one later does not count, and read
    when ``sha256`` is first asked for: that takes ten times as long as mapping their tensors.

    Raises:
        OSError: a file cannot be opened.
    """

    def __init__(self, *paths: Path):
        with contextlib.ExitStack() as opened:
            self._files = [opened.enter_context(path.open("rb", buffering=0)) for path in paths]
            self._opened = opened.pop_all()
        self._paths = paths
        self._states = self._states_of_files()

    def check_unchanged(self) -> None:
        """Raise ``CheckpointError`` unless the paths still lead to the files as opened."""
        for path, state in zip(self._paths, self._states, strict=True):
            try:
                unchanged = _state(path.stat()) == state
            except OSError:
                unchanged = False
            if not unchanged:
                raise CheckpointError(f"{path} was changed while it was read; load it again.")

    @functools.cached_property
    def sha256(self) -> str:
        """In hexadecimal.

        Raises:
            CheckpointError: a file was changed since, or cannot be read to its end.
        """
        reason = ""
        try:
            with self._opened:
                digest = _hash(self._files)
                if self._states_of_files() == self._states:
                    return digest
        except (OSError, ValueError) as error:  # ValueError: a first attempt has closed them
            reason = f" ({error})"
        raise CheckpointError(
            f"{self._paths[0]} was changed after it was loaded{reason}; load the model again."
        )

    def _states_of_files(self) -> list[tuple[int, int, int]]:
        return [_state(os.fstat(file.fileno())) for file in self._files]


def _hash(files: Iterable[RawIOBase]) -> str:
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(_CHUNK))
    for file in files:
        while size := file.readinto(chunk):  # type: ignore[attr-defined]
            digest.update(chunk[:size])
    return digest.hexdigest()


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
