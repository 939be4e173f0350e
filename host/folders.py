"""Finds models: the bundled ones, and every model below the host's `diffusers` paths.

A model is a folder or a single file. Its name in the loader is its path below the `diffusers`
folder, with ``/`` on every system; a suffix like ``@fp16`` selects a variant of the weights.
"""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ..checkpoints.files import (
    ModelFiles,
    check_not_code,
    find_files,
    find_variants,
    is_foreign,
    is_model_folder,
    is_single_file,
    is_training_checkpoint,
    is_training_state,
    network_folders,
    warn_unreadable,
)
from ..networks.errors import CheckpointError, shown

_BUNDLED = Path(__file__).resolve().parent.parent / "models"
_DEPTH = 4
_CLASSIFIER = "classifier.safetensors"
"""The classifier's file in the folder of a bundled model."""


@dataclass(frozen=True)
class _Place:
    path: Path
    variant: str = ""


def saved_models() -> Path:
    """Return the folder of the models that Save Unconditional UNet writes."""
    return Path(folder_paths.get_output_directory()) / "diffusers"


def register_saved_models() -> None:
    """Add the folder of saved models to the host's `diffusers` folders."""
    folder_paths.add_model_folder_path("diffusers", str(saved_models()))


def download_root() -> Path:
    """Return the folder for downloaded models: the first of the host's `diffusers` folders."""
    return Path(folder_paths.get_folder_paths("diffusers")[0])


def model_names() -> list[str]:
    """Return the names of the loader's models: bundled ones first, then by name.

    Unreadable files and folders are left out with a warning. What cannot be a model, for example
    an optimizer state or a network of another class, is left out too, but can be loaded by name.
    """
    names = (name for root in _roots() for name in _names_below(root))
    return list(dict.fromkeys(names))


def model_files(name: str) -> ModelFiles:
    """Return the files of the model with this name.

    Raises:
        CheckpointError: there is none, or its files are incomplete or unreadable.
    """
    place = _find(name)
    try:
        return find_files(place.path, place.variant)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or place.path} cannot be read: {error.strerror}."
        ) from error


def check_name(name: str) -> None:
    """Raise ``CheckpointError`` if no model has this name, without reading the model."""
    _find(name)


def classifier_names() -> list[str]:
    """Return the names of the classifiers: first the bundled models', then those of files."""
    bundled = [path.parent.name for path in sorted(_BUNDLED.glob(f"*/{_CLASSIFIER}"))]
    return [*bundled, *sorted(_classifier_files())]


def classifier_path(name: str) -> Path:
    """Return the file of the classifier with this name.

    Raises:
        CheckpointError: there is none.
    """
    check_not_code(name)
    bundled = _BUNDLED / name / _CLASSIFIER
    if _is_part(name) and bundled.is_file():
        return bundled
    path = _classifier_files().get(name)
    if path is None:
        folders = ", ".join(folder_paths.get_folder_paths("classifiers"))
        raise CheckpointError(
            f"The classifier '{shown(name)}' was not found. Put its file into {folders}, press R "
            "in the editor, and choose it again."
        )
    return path


def _classifier_files() -> dict[str, Path]:
    """Return the files in the host's `classifiers` folders by name; the first of a name counts."""
    found: dict[str, Path] = {}
    for root in map(Path, folder_paths.get_folder_paths("classifiers")):
        for path in sorted(root.rglob("*")):
            if is_single_file(path) and path.is_file():
                found.setdefault(path.relative_to(root).as_posix(), path)
    return found


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


def _roots() -> list[Path]:
    """Return the folders to search; the first model of a name is used, as in the host."""
    return [_BUNDLED, *map(Path, folder_paths.get_folder_paths("diffusers"))]


def _find(name: str) -> _Place:
    """Look up a name below the roots only."""
    check_not_code(name)
    foreign, unreadable = None, ""
    for root in _roots() if all(map(_is_part, name.split("/"))) else ():
        try:
            place = _below(root, name)
        except OSError as error:
            unreadable += f" {error.filename or root} cannot be read: {error.strerror}."
        else:
            if place is not None and not is_foreign(place.path):
                return place
            foreign = foreign or place
    if foreign is not None:  # loading it reports the problem
        return foreign
    raise CheckpointError(
        f"The model '{shown(name)}' was not found.{unreadable} Put its folder (with config.json "
        f"and its weights) or its file into {', '.join(map(str, _roots()[1:]))}, press R in the "
        "editor, and choose it again."
    )


def _is_part(part: str) -> bool:
    """Whether this is a plain name: not a parent folder, drive or network share, and not hidden."""
    return part == Path(part).name and part[:1] not in ("", ".")


def _below(root: Path, name: str) -> _Place | None:
    folder, at, variant = name.rpartition("@")
    if at and (root / folder).is_dir() and variant in _variants(root / folder):
        return _Place(root / folder, variant)
    path = root / name
    if path.is_dir():
        if is_model_folder(path):
            return _Place(path)
        next(path.iterdir(), None)  # raises where it cannot be read
    elif path.is_file() and is_single_file(path):
        return _Place(path)
    return None


def _variants(folder: Path) -> list[str]:
    network = network_folders(folder)
    return find_variants(next(iter(network.values()))) if network else []


def _names_below(root: Path) -> Iterator[str]:
    for path in _models_below(root):
        name = path.relative_to(root).as_posix()
        networks = network_folders(path) or {"": None}
        for addition, network in networks.items():
            try:
                variants = [""] if network is None else find_variants(network)
            except OSError as error:
                warn_unreadable(network or path, error.strerror)
                continue
            yield from (f"{name}{addition}{variant and '@'}{variant}" for variant in variants)


def _models_below(root: Path) -> list[Path]:
    """Find model folders and single files below ``root``, sorted by name.

    Inside a model folder, only training checkpoints are searched for. Each folder is searched once:
    links are searched last, so a folder below ``root`` keeps its own name.
    """
    found: list[Path] = []
    own, links = deque([(root, _DEPTH)]), deque[tuple[Path, int]]()
    searched: set[Path] = set()
    while own or links:
        folder, depth = (own or links).popleft()
        try:
            children = sorted(path for path in folder.iterdir() if path.name[0] != ".")
            if folder != root and is_foreign(folder):
                continue
        except OSError as error:
            # A missing root is normal before anything has been saved.
            if folder != root or not isinstance(error, FileNotFoundError) or root.is_symlink():
                warn_unreadable(folder, error.strerror)
            continue
        inside_model = folder != root and is_model_folder(folder)
        if inside_model:
            found.append(folder)
        real = Path(os.path.realpath(folder))  # Path.resolve raises where links form a loop
        if real in searched or depth == 0:
            continue
        searched.add(real)
        for child in children:
            try:
                if child.is_dir():
                    if not inside_model or is_training_checkpoint(child):
                        is_own = os.path.realpath(child) == str(real / child.name)
                        (own if is_own else links).append((child, depth - 1))
                elif inside_model or not is_single_file(child) or is_training_state(child):
                    continue
                elif child.is_file():
                    found.append(child)
            except OSError as error:
                warn_unreadable(child, error.strerror)
    return sorted(found)
