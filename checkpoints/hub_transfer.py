"""One file from the hub to the disk: in pieces, resumed, checked, by one process at a time."""

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
    """One file: its path in the repository and here, its size, and the hash it must have."""

    name: str
    local_name: str
    size: int
    algorithm: str
    digest: str

    @property
    def part_name(self) -> str:
        """What it is called before it is whole; never that of another version of the file."""
        return f"{self.local_name.replace('/', '--')}.{self.digest}.part"


class _Sink:
    """The file that a download is written to, as the hub's library sees it."""

    def __init__(self, stream: BinaryIO, progress: Callable[[int], None]):
        self._stream, self._progress = stream, progress

    def write(self, chunk: bytes) -> int:
        try:
            # Small pieces, so that a cancel is heard.
            for start in range(0, len(chunk), _CHUNK):
                self._progress(self._stream.tell())
                self._stream.write(chunk[start : start + _CHUNK])
            self._progress(self._stream.tell())
        except Exception as error:
            # Else the library would take a full disk or a cancel for an error of the hub.
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
    """What arrived of ``file`` is not what the hub announced. It was deleted."""

    def __init__(self, file: RemoteFile):
        super().__init__(file.name)
        self.file = file


@contextlib.contextmanager
def alone_in(folder: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Make a folder and hold it against other processes; call ``waiting`` while one has it.

    The system gives it free when a process ends, however that ends. Where the file system has no
    locks nothing is held: what two processes wrote into one file then fails its check.
    """
    from filelock import FileLock, Timeout  # which huggingface_hub depends on

    lock = FileLock(folder / "lock")
    for attempt in itertools.count():
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0.5, poll_interval=0.1)
            break
        except Timeout:
            if attempt == 0:
                logger.info("Another process downloads to %s; waiting for it.", folder)
            waiting()
        except FileNotFoundError:  # the other one is done, and has taken the folder away
            continue
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            logger.warning("%s is on a file system without locks.", folder)
            break
    try:
        yield
    finally:
        lock.release()


def fetch(url: str, file: RemoteFile, folder: Path, progress: Callable[[int], None]) -> None:
    """Bring a file's part into ``folder``, going on with what is there, and check it.

    Raises:
        StoppedError: writing failed, or ``progress`` raised.
        DamagedError: it is not what the hub announced.
        Exception: what the hub's library raises where the hub does not answer or refuses.
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
    """Switch off a downloader of huggingface_hub below 1.0 that ignores where it is to write.

    ``HF_HUB_ENABLE_HF_TRANSFER`` switches it on. It opens a file by its name and cannot be
    cancelled.
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
    if file.algorithm == "sha1":  # git's hash of a file begins with this
        digest.update(f"blob {file.size}\0".encode())
    with part.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return part.stat().st_size == file.size and digest.hexdigest() == file.digest
