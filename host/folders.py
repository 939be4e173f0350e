"""Where models are: the bundled ones, and every model folder below the host's `diffusers` paths."""

import logging
from collections.abc import Iterator
from pathlib import Path

import folder_paths

from ..unet.errors import CheckpointError
from ..unet.files import is_model_folder

logger = logging.getLogger(__name__)

_BUNDLED = Path(__file__).resolve().parent.parent / "models"


def saved_models() -> Path:
    """Return the folder of the models that Save Unconditional UNet writes."""
    return Path(folder_paths.get_output_directory()) / "diffusers"


def register_saved_models() -> None:
    """Make the saved models part of the host's `diffusers` folders."""
    folder_paths.add_model_folder_path("diffusers", str(saved_models()))


def download_root() -> Path:
    """Return the folder that downloaded models go to: the first of the host's `diffusers`."""
    return Path(folder_paths.get_folder_paths("diffusers")[0])


def model_folders() -> dict[str, Path]:
    """Return the folder of each model by its name in the loader: bundled first, then by name.

    Names are paths below a `diffusers` folder, with ``/`` on every system. Where two folders have
    one name the first counts, as in the host.
    """
    found = {path.name: path for path in sorted(_BUNDLED.iterdir()) if is_model_folder(path)}
    for root in folder_paths.get_folder_paths("diffusers"):
        for folder in _walk(Path(root)):
            found.setdefault(folder.relative_to(root).as_posix(), folder)
    return found


def model_folder(name: str) -> Path:
    """Return the folder of the model with this name.

    Raises:
        CheckpointError: there is none.
    """
    folder = model_folders().get(name)
    if folder is None:
        places = ", ".join(folder_paths.get_folder_paths("diffusers"))
        raise CheckpointError(
            f"There is no model '{name}'. Put its folder (with config.json and its weights) into "
            f"{places}, press R in the editor, and choose it again."
        )
    return folder


def _walk(root: Path, depth: int = 4) -> Iterator[Path]:
    """Yield model folders below ``root``, in the order of their names, not looking inside them."""
    try:
        children = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError as error:
        if root.exists():
            logger.warning("The folder %s cannot be read: %s", root, error.strerror)
        return
    for child in children:
        if child.name.startswith("."):
            continue
        if is_model_folder(child):
            yield child
        elif depth > 1:
            yield from _walk(child, depth - 1)
