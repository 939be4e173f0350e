"""Files and folders that get their final name once they are complete, and never replace another.

Several hosts may write into one folder, even over a network or without hard links.
"""

import contextlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE
)
_MAX_BYTES = 255  # on nearly every file system


@contextlib.contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """Yield a unique hidden path next to ``target``; it is removed at the end."""
    path = target.with_name(f".{target.name[-20:]}.{secrets.token_hex(8)}.unfinished")
    try:
        yield path
    finally:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            # This must not hide an error of the writing itself.
            logger.warning("The unfinished %s cannot be removed: %s", path.name, error.strerror)


def take_name(path: Path, target: Path) -> None:
    """Give a complete file or folder its final name, in the same folder or one below.

    Raises:
        FileExistsError: the name is taken.
        OSError: it cannot have this name; nothing is left under it.
    """
    if path.is_dir():
        _take_folder_name(path, target)
        return
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except (OSError, AttributeError, NotImplementedError):
        # No hard links here (exFAT, some network folders, Android): reserve the name with an empty
        # file, then replace that with the complete one.
        target.open("xb").close()
        try:
            os.replace(path, target)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def _take_folder_name(path: Path, target: Path) -> None:
    # If a folder can replace an empty one, it must be the one that was created here.
    target.mkdir()
    try:
        os.replace(path, target)
    except OSError:
        # Windows and some network folders cannot do that, so the rename replaces nothing either.
        target.rmdir()
        path.rename(target)


def is_device_name(part: str) -> bool:
    """Whether this part of a path is a device on Windows, for example ``con`` or ``nul.txt``."""
    return _DEVICE.fullmatch(part) is not None


def is_too_long(part: str, folder: Path) -> bool:
    """Whether a name is too long for the file system of ``folder``."""
    limit = _MAX_BYTES
    with contextlib.suppress(OSError, AttributeError, ValueError):
        limit = os.pathconf(folder, "PC_NAME_MAX")
    # Windows counts UTF-16 units, others bytes.
    on_windows = os.name == "nt"
    return len(part.encode("utf-16-le")) // 2 > limit if on_windows else len(part.encode()) > limit
