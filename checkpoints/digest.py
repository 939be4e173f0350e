"""The sha256 of a model's files."""

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Iterable
from io import RawIOBase
from pathlib import Path
from typing import Any

from ..networks.errors import CheckpointError

logger = logging.getLogger(__name__)

_CHUNK = 2**20


class FileDigest:
    """The sha256 of several files together, as they were when this object was created.

    The files are opened immediately, so a file that replaces one later has no effect. Hashing takes
    ten times as long as mapping their tensors; ``start`` does it in the background.

    Raises:
        OSError: a file cannot be opened.
    """

    def __init__(self, *paths: Path):
        with contextlib.ExitStack() as opened:
            self._files = [opened.enter_context(path.open("rb", buffering=0)) for path in paths]
            self._opened: contextlib.ExitStack | None = opened.pop_all()
        self._paths = paths
        self._states = self._states_of_files()
        self._sha256: str | None = None
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> "FileDigest":
        """Return itself: a copied model has the same files, and open files cannot be copied."""
        return self

    def check_unchanged(self) -> None:
        """Raise ``CheckpointError`` unless the paths still lead to the same, unchanged files."""
        for path, state in zip(self._paths, self._states, strict=True):
            try:
                unchanged = _state(path.stat()) == state
            except OSError:
                unchanged = False
            if not unchanged:
                raise CheckpointError(f"{path} changed while it was being read. Load it again.")

    def start(self) -> None:
        """Start hashing in the background. Changes after that has finished do not matter."""
        threading.Thread(target=lambda: self.sha256, name="sha256", daemon=True).start()

    @property
    def sha256(self) -> str | None:
        """In hexadecimal; None, with a warning, if a file changed before it was hashed."""
        with self._lock:
            if self._opened is not None:
                opened, self._opened = self._opened, None
                reason = "the file has changed since it was loaded"
                try:
                    with opened:
                        digest = _hash(self._files)
                        if self._states_of_files() == self._states:
                            self._sha256 = digest
                except OSError as error:
                    reason = str(error)
                if self._sha256 is None:
                    logger.warning(
                        "The sha256 of %s is unknown and will be missing in saved pictures: %s.",
                        self._paths[0],
                        reason,
                    )
            return self._sha256

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
