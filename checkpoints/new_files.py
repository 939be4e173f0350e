"""Files and folders that get their name when they are complete, and never one that is taken.

Several hosts may write into one folder, also over a network and on file systems without hard links.
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
_MOST_BYTES = 255  # on nearly every file system


@contextlib.contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """Yield a hidden path beside ``target`` that nobody else uses; at the end it is removed."""
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
            # It must not hide what came of the writing.
            logger.warning("The unfinished %s cannot be removed: %s", path.name, error.strerror)


def take_name(path: Path, target: Path) -> None:
    """Give a complete file or folder its name, in the same folder or one below.

    Raises:
        FileExistsError: something else has the name.
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
        # There are no hard links here (exFAT, some network folders, Android): an empty file of our
        # own holds the name until the complete one replaces it.
        target.open("xb").close()
        try:
            os.replace(path, target)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def _take_folder_name(path: Path, target: Path) -> None:
    # Where folders can be renamed onto an empty one, ours has to be the one that made it.
    target.mkdir()
    try:
        os.replace(path, target)
    except OSError:
        # Windows and some network folders do not, and so cannot replace another's folder either.
        target.rmdir()
        path.rename(target)


def is_device_name(part: str) -> bool:
    """Whether Windows takes this part of a path for a device, such as ``con`` or ``nul.txt``."""
    return _DEVICE.fullmatch(part) is not None


def is_too_long(part: str, folder: Path) -> bool:
    """Whether the file system of ``folder`` takes no name of this length."""
    most = _MOST_BYTES
    with contextlib.suppress(OSError, AttributeError, ValueError):
        most = os.pathconf(folder, "PC_NAME_MAX")
    # Windows counts UTF-16 units, others bytes.
    on_windows = os.name == "nt"
    return len(part.encode("utf-16-le")) // 2 > most if on_windows else len(part.encode()) > most
