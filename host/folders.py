"""Where models are: the bundled ones, and every model below the host's `diffusers` paths.

A model is a folder or a single file. Its name in the loader is its path below the `diffusers`
folder, with ``/`` on every system; ``@fp16`` at the end is a variant of the weights.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ..unet.errors import CheckpointError
from ..unet.files import (
    ModelFiles,
    find_files,
    find_variants,
    is_foreign_pipeline,
    is_model_folder,
    is_single_file,
    is_training_checkpoint,
    network_folders,
)

logger = logging.getLogger(__name__)

_BUNDLED = Path(__file__).resolve().parent.parent / "models"
_DEPTH = 4


@dataclass(frozen=True)
class _Place:
    path: Path
    variant: str = ""


def saved_models() -> Path:
    """Return the folder of the models that Save Unconditional UNet writes."""
    return Path(folder_paths.get_output_directory()) / "diffusers"


def register_saved_models() -> None:
    """Make the saved models part of the host's `diffusers` folders."""
    folder_paths.add_model_folder_path("diffusers", str(saved_models()))


def download_root() -> Path:
    """Return the folder that downloaded models go to: the first of the host's `diffusers`."""
    return Path(folder_paths.get_folder_paths("diffusers")[0])


def model_names() -> list[str]:
    """Return the name of each model in the loader: bundled first, then by name."""
    return list(_places())


def model_files(name: str) -> ModelFiles:
    """Return the files of the model with this name.

    Raises:
        CheckpointError: there is none, or its files are not complete.
    """
    place = _find(name)
    return find_files(place.path, place.variant)


def check_name(name: str) -> None:
    """Raise ``CheckpointError`` where no model has this name; nothing of it is read."""
    _find(name)


class LoadedFiles:
    """Counts the changes on disk to the files of loaded models."""

    def __init__(self) -> None:
        self._seen: dict[ModelFiles, str] = {}
        self._changes = 0

    def add(self, files: ModelFiles) -> None:
        """Watch these files for changes from now on."""
        self.changes()
        self._seen.setdefault(files, _fingerprint(files))

    def changes(self) -> int:
        """Return the number of changes so far."""
        for files, before in self._seen.items():
            now = _fingerprint(files)
            if now != before:
                self._seen[files] = now
                self._changes += 1
        return self._changes


def _fingerprint(files: ModelFiles) -> str:
    try:
        return files.fingerprint
    except OSError:  # a file is gone
        return ""


def _find(name: str) -> _Place:
    place = _places().get(name)
    if place is not None:
        return place
    roots = [Path(root) for root in folder_paths.get_folder_paths("diffusers")]
    if name.lower().endswith((".pkl", ".pickle")):
        find_files(Path(name))  # refuses it, unopened
    raise CheckpointError(
        f"There is no model '{name}'. Put its folder (with config.json and its weights) or its "
        f"file into {', '.join(map(str, roots))}, press R in the editor, and choose it again."
    )


def _places() -> dict[str, _Place]:
    """Where two models have one name the first counts, as in the host."""
    found: dict[str, _Place] = {}
    for folder in sorted(path for path in _BUNDLED.iterdir() if is_model_folder(path)):
        found |= _of_folder(folder.name, folder)
    for root in folder_paths.get_folder_paths("diffusers"):
        for path in _walk(Path(root), _DEPTH):
            name = path.relative_to(root).as_posix()
            places = {name: _Place(path)} if path.is_file() else _of_folder(name, path)
            for key, place in places.items():
                found.setdefault(key, place)
    return found


def _of_folder(name: str, folder: Path) -> dict[str, _Place]:
    """Each network and variant in a model folder, by name."""
    found: dict[str, _Place] = {}
    for addition, network in network_folders(folder).items():
        for variant in find_variants(network):
            suffix = f"@{variant}" if variant else ""
            found[f"{name}{addition}{suffix}"] = _Place(network, variant)
    return found


def _walk(root: Path, depth: int) -> Iterator[Path]:
    """Yield model folders and single files below ``root``, in the order of their names.

    Inside a model folder only the checkpoints of its training are looked for.
    """
    try:
        children = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        if root.exists():
            logger.warning("The folder %s cannot be read: %s", root, error.strerror)
        return
    inside_model = is_model_folder(root)
    for child in children:
        if inside_model and not is_training_checkpoint(child):
            continue
        if is_single_file(child):
            yield child
        elif child.is_dir() and not is_foreign_pipeline(child):
            if is_model_folder(child):
                yield child
            if depth > 1:
                yield from _walk(child, depth - 1)
