"""Download one file from the hub: in chunks, resumable, verified, by one process at a time."""

import contextlib
import errno
import hashlib
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

_CHUNK = 2**20
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


@dataclass(frozen=True)
class RemoteFile:
    """One file: its path in the repository and on this machine, its size and expected hash."""

    name: str
    local_name: str
    size: int
    algorithm: str
    digest: str

    @property
    def part_name(self) -> str:
        """Its name until it is complete; each version of the file has its own."""
        return f"{self.local_name.replace('/', '--')}.{self.digest}.part"


class _Sink:
    """The file object that the hub's library writes a download to."""

    def __init__(self, stream: BinaryIO, progress: Callable[[int], None]):
        self._stream, self._progress = stream, progress

    def write(self, chunk: bytes) -> int:
        try:
            # In small chunks, to react to a cancel.
            for start in range(0, len(chunk), _CHUNK):
                self._progress(self._stream.tell())
                self._stream.write(chunk[start : start + _CHUNK])
            self._progress(self._stream.tell())
        except Exception as error:
            # Otherwise the library would treat a full disk or a cancel as an error of the hub.
            raise StoppedError(error) from error
        return len(chunk)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        return self._stream.seek(position, whence)

    def truncate(self, size: int | None = None) -> int:
        return self._stream.truncate(size)


class StoppedError(Exception):
    """Writing, or ``progress``, raised ``reason``."""

    def __init__(self, reason: Exception):
        super().__init__(str(reason))
        self.reason = reason


class DamagedError(Exception):
    """The downloaded ``file`` does not match what the hub announced. It was deleted."""

    def __init__(self, file: RemoteFile):
        super().__init__(file.name)
        self.file = file


@contextlib.contextmanager
def locked(folder: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Create a folder and lock it against other processes; call ``waiting`` while one has it.

    The system releases the lock when a process ends, however it ends. On a file system without
    locks nothing is locked; a file that two processes wrote at once then fails its check.
    """
    from filelock import FileLock, Timeout  # a dependency of huggingface_hub

    lock = FileLock(folder / "lock")
    for attempt in itertools.count():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0.5, poll_interval=0.1)
            break
        except Timeout:
            if attempt == 0:
                logger.info("Waiting for another process that is downloading to %s.", folder)
            waiting()
        except FileNotFoundError:  # the other process has finished and removed the folder
            continue
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            logger.warning(
                "%s is on a file system without locks. Do not download the same model twice at "
                "once.",
                folder,
            )
            break
    try:
        yield
    finally:
        lock.release()


def fetch(url: str, file: RemoteFile, folder: Path, progress: Callable[[int], None]) -> None:
    """Download a file's part into ``folder``, resuming an existing one, and verify it.

    Raises:
        StoppedError: writing failed, or ``progress`` raised.
        DamagedError: it does not match what the hub announced.
        Exception: errors of the hub's library if the hub does not respond or denies access.
    """
    part = folder / file.part_name
    with _disk_errors():
        present = part.stat().st_size if part.exists() else 0
        if present != file.size:
            free = shutil.disk_usage(folder).free
            if free < file.size - present:
                raise OSError(errno.ENOSPC, f"only {free // 2**20} MB are free")
        stream = part.open("ab")
    with stream:
        if present != file.size:
            _request(url, _Sink(stream, progress), file)
    with _disk_errors():
        is_whole = _is_as_announced(part, file)
        if not is_whole:
            part.unlink()
    if not is_whole:
        raise DamagedError(file)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoppedError(error) from error


def _request(url: str, sink: _Sink, file: RemoteFile) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    sink.seek(0, os.SEEK_END)
    if sink.tell() > file.size:
        sink.truncate(0)
    with _without_hf_transfer():
        http_get(
            url,
            sink,  # type: ignore[arg-type]
            resume_size=sink.tell(),
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.local_name,
        )


@contextlib.contextmanager
def _without_hf_transfer() -> Iterator[None]:
    """Disable hf_transfer, a downloader that huggingface_hub below 1.0 can use.

    It is enabled with ``HF_HUB_ENABLE_HF_TRANSFER``. It ignores the given file object, opens a file
    by name, and cannot be cancelled.
    """
    from huggingface_hub import constants, file_download

    name = "HF_HUB_ENABLE_HF_TRANSFER"
    before = [
        (module, getattr(module, name))
        for module in (constants, file_download)
        if hasattr(module, name)
    ]
    try:
        for module, _ in before:
            setattr(module, name, False)
        yield
    finally:
        for module, value in before:
            setattr(module, name, value)


def _is_as_announced(part: Path, file: RemoteFile) -> bool:
    digest = hashlib.new(file.algorithm)
    if file.algorithm == "sha1":  # git hashes this header before the contents
        digest.update(f"blob {file.size}\0".encode())
    with part.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return part.stat().st_size == file.size and digest.hexdigest() == file.digest
