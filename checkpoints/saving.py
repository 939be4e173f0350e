"""Save a network as a folder, for diffusers too if it has the network: whole, or not at all."""

import contextlib
import json
import os
import re
from collections.abc import Collection
from itertools import count
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ..networks.base import NetworkConfig
from ..schedulers.config import SchedulerConfig
from ..schedulers.errors import UserError
from ..schedulers.process import Process
from .files import OPTIMISED_TIMESTEPS, is_model_folder
from .new_files import is_device_name, is_too_long, take_name, unfinished
from .optimised_timesteps import optimised_text

# One part of a model's name: valid on every file system, and not hidden.
_BAD = r"\x00-\x1f<>:\"/\\|?*\ud800-\udfff"
_PART = re.compile(rf"[^{_BAD}.][^{_BAD}]*(?<![. ])")
_MAX_PARTS = 4  # as deep as the loader looks


def save_model(
    folder: Path, weights: dict[str, Tensor], unet: NetworkConfig, scheduler: Process
) -> None:
    """Write a diffusers pipeline folder: ``model_index.json``, ``unet/`` and ``scheduler/``.

    The timesteps found for a model go into a separate file, which diffusers ignores.

    If diffusers cannot build the network, both files that it reads first say so: diffusers finds no
    class of that name, instead of drawing with another network.

    Existing files are replaced, each as a whole. The weights keep their dtype.

    Raises:
        OSError: a file cannot be written.
    """
    network, reason = unet.to_dict(), unet.not_for_diffusers
    index = {
        "_class_name": scheduler.PIPELINE,
        "scheduler": ["diffusers", scheduler.CLASS_NAME],
        "unet": ["comfyui_unconditional" if reason else "diffusers", network["_class_name"]],
    }
    if reason:
        index["not_for_diffusers"] = reason
    contents: dict[str, dict[str, Any]] = {
        "model_index.json": index,
        "unet/config.json": network,
        "scheduler/scheduler_config.json": {
            "_class_name": scheduler.CLASS_NAME,
            **scheduler.to_dict(),
        },
    }
    for name, content in contents.items():
        _write(folder / name, (json.dumps(content, indent=2) + "\n").encode())
    if isinstance(scheduler, SchedulerConfig) and scheduler.optimised:
        text = optimised_text(scheduler)
        _write(folder / "scheduler" / OPTIMISED_TIMESTEPS, text.encode())
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    # Not save_file: only the owner could read its files.
    _write(
        folder / "unet" / "diffusion_pytorch_model.safetensors",
        save(tensors, metadata={"format": "pt"}),
    )


def save_as_new_model(
    root: Path,
    name: str,
    weights: dict[str, Tensor],
    unet: NetworkConfig,
    scheduler: Process,
    *,
    taken: Collection[str] = (),
) -> str:
    """Write a model folder below ``root`` under the first free name.

    The names tried are ``name``, ``name_00002`` and so on. The folder gets its name when it is
    complete.

    Args:
        root: where models are saved; created if missing.
        name: of the folder, with ``/`` between parent folders.
        weights, unet, scheduler: as for ``save_model``.
        taken: other names that are not free.

    Returns:
        The name of the new folder.

    Raises:
        ValueError: the name is not valid, or writing failed; nothing is left in that case.
    """
    name = checked_name(root, name)
    try:
        with unfinished(root / "model") as folder:
            save_model(folder, weights, unet, scheduler)
            return _take_free_name(folder, root, name, taken)
    except OSError as error:
        raise UserError(
            f"The model cannot be saved as {root / name}: {error.strerror or error}. Free some "
            "space, allow writing there, or choose another name."
        ) from error


def _take_free_name(folder: Path, root: Path, name: str, taken: Collection[str]) -> str:
    for number in count(1):
        own = name if number == 1 else f"{name}_{number:05}"
        if own in taken:
            continue
        (root / own).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            take_name(folder, root / own)
            return own
    raise AssertionError


def checked_name(root: Path, name: str) -> str:
    """Return a name below ``root`` with ``/`` as its separator, or raise ``ValueError``."""
    parts = name.strip().replace("\\", "/").split("/")
    if len(parts) > _MAX_PARTS or not all(_PART.fullmatch(part) for part in parts):
        raise UserError(
            f"'{name}' is not a valid model name. Use letters, digits, - and _, and at most "
            f"{_MAX_PARTS - 1} slashes for folders. It must stay inside {root}."
        )
    for part in parts:
        if is_device_name(part):
            raise UserError(
                f"'{name}' is not a valid model name: '{part}' is a device on Windows. Choose "
                "another name."
            )
        if is_too_long(f"{part}_00001", root):
            raise UserError(
                f"'{part[:40]}...' ({len(part)} characters) is too long for a folder name. Choose "
                "a shorter one."
            )
    for k in range(len(parts)):
        above = root.joinpath(*parts[:k])
        # A link may lead anywhere.
        if not above.resolve().is_relative_to(root.resolve()):
            raise UserError(f"'{name}' leads outside {root}. Choose another name.")
        if k and is_model_folder(above):
            raise UserError(
                f"'{'/'.join(parts[:k])}' is a model itself, and models inside models are not "
                "listed. Choose another name."
            )
    return "/".join(parts)


def _write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(path) as new:
        new.write_bytes(content)
        os.replace(new, path)
