"""The sha256 of a model's files, computed beside the work that they are read for."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterable
from io import RawIOBase
from pathlib import Path

from .errors import CheckpointError

_CHUNK = 2**20


class FileDigest:
    """The sha256 of some files, one after another, as they were when this was made.

    The files are opened at once, so that a file that replaces one later does not count. They are
    read in a thread of its own, from ``start`` on: that takes longer than mapping their tensors.

    Raises:
        OSError: a file cannot be opened.
    """

    def __init__(self, *paths: Path):
        with contextlib.ExitStack() as opened:
            self._files = [opened.enter_context(path.open("rb", buffering=0)) for path in paths]
            self._opened = opened.pop_all()
        self._paths = paths
        self._states = self._states_of_files()
        self._sha256: str | None = None
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._read, name="sha256", daemon=True)

    def start(self) -> None:
        """Begin to read; to be called once."""
        self._thread.start()

    def check_unchanged(self) -> None:
        """Raise ``CheckpointError`` unless the paths still lead to the files as opened."""
        for path, state in zip(self._paths, self._states, strict=True):
            try:
                unchanged = _state(path.stat()) == state
            except OSError:
                unchanged = False
            if not unchanged:
                raise CheckpointError(f"{path} was changed while it was read; load it again.")

    @property
    def sha256(self) -> str:
        """In hexadecimal; waits until all is read, which must have been started.

        Raises:
            CheckpointError: a file was changed or could not be read to its end.
        """
        self._thread.join()
        if self._sha256 is None:
            reason = f": {self._error.strerror}" if self._error else ""
            raise CheckpointError(
                f"{self._paths[0]} was changed while it was read{reason}; load the model again."
            )
        return self._sha256

    def _read(self) -> None:
        try:
            with self._opened:
                digest = _hash(self._files)
                if self._states_of_files() == self._states:
                    self._sha256 = digest
        except OSError as error:
            self._error = error

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
