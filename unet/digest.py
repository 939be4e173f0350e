"""The sha256 of a file, computed beside the work that the file is read for."""

import hashlib
import os
import threading
from pathlib import Path
from typing import BinaryIO

from .errors import CheckpointError

_CHUNK = 2**20


class FileDigest:
    """The sha256 of one file as it was when this was made.

    The file is opened at once, so that a file that replaces it later does not count. It is read
    in a thread of its own, from ``start`` on: that takes longer than mapping the file's tensors.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._state = _state(os.fstat(self._file.fileno()))
        self._sha256: str | None = None
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._read, name="sha256", daemon=True)

    def start(self) -> None:
        """Begin to read; to be called once."""
        self._thread.start()

    def check_unchanged(self) -> None:
        """Raise ``CheckpointError`` unless the path still leads to the file as it was opened."""
        try:
            unchanged = _state(self._path.stat()) == self._state
        except OSError:
            unchanged = False
        if not unchanged:
            raise CheckpointError(f"{self._path} was changed while it was read; load it again.")

    @property
    def sha256(self) -> str:
        """In hexadecimal; waits until the file is read, which must have been started.

        Raises:
            CheckpointError: the file was changed or could not be read to its end.
        """
        self._thread.join()
        if self._sha256 is None:
            reason = f": {self._error.strerror}" if self._error else ""
            raise CheckpointError(
                f"{self._path} was changed while it was read{reason}; load the model again."
            )
        return self._sha256

    def _read(self) -> None:
        try:
            with self._file as file:
                digest = _hash(file)
                if _state(os.fstat(file.fileno())) == self._state:
                    self._sha256 = digest
        except OSError as error:
            self._error = error


def _hash(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    chunk = memoryview(bytearray(_CHUNK))
    while size := file.readinto(chunk):  # type: ignore[attr-defined]
        digest.update(chunk[:size])
    return digest.hexdigest()


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
