"""Which files make up a model folder, and how its JSON files are read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CheckpointError, ConfigError

CONFIG = "config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
SCHEDULER_CONFIG = "scheduler_config.json"

# A configuration is some kilobytes; one with a million trained betas stays below this.
_LARGEST_JSON = 32 * 2**20


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model; ``scheduler_config`` is None where there is none."""

    config: Path
    weights: Path
    scheduler_config: Path | None

    @property
    def fingerprint(self) -> str:
        """Changes when a file is replaced: the size and time of each."""
        present = [path for path in (self.config, self.weights, self.scheduler_config) if path]
        stats = [path.stat() for path in present]
        return ", ".join(
            f"{path.name} {stat.st_size} {stat.st_mtime_ns}"
            for path, stat in zip(present, stats, strict=True)
        )


def is_model_folder(folder: Path) -> bool:
    """Whether a folder has a network's configuration, at its root or in ``unet/``."""
    return (folder / CONFIG).is_file() or (folder / "unet" / CONFIG).is_file()


def find_files(folder: Path) -> ModelFiles:
    """Find the files of a diffusers folder in either layout.

    The layouts are everything at the root (google/ddpm-*), and ``unet/`` beside ``scheduler/``
    (diffusers' ``train_unconditional.py``). safetensors come before ``.bin``.

    Raises:
        CheckpointError: the folder, its configuration or its weights are missing.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {folder}.")
    if (folder / "unet" / CONFIG).is_file():
        network, scheduler = folder / "unet", folder / "scheduler" / SCHEDULER_CONFIG
    elif (folder / CONFIG).is_file():
        network, scheduler = folder, folder / SCHEDULER_CONFIG
    else:
        raise CheckpointError(
            f"{folder} is not a model folder: it has no {CONFIG} and no unet/{CONFIG}. "
            "Download the whole repository, not only the weights."
        )
    for name in WEIGHTS:
        if (network / name).is_file():
            found = scheduler if scheduler.is_file() else None
            return ModelFiles(network / CONFIG, network / name, found)
    raise CheckpointError(f"{network} has no weights: put {' or '.join(WEIGHTS)} there.")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        ConfigError: it is unreadable, not JSON, too large, or something else than an object.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ConfigError(f"{path} is far too large for a configuration.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{path} is not valid JSON ({error}). Download it again, or mend it by hand."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} does not hold a configuration, but a {type(content).__name__}.")
    return content
