"""A network becomes a folder that diffusers opens: whole, or not at all."""

import json
import os
import re
import shutil
from collections.abc import Collection
from itertools import count
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ..schedulers.config import SchedulerConfig
from .config import UNetConfig
from .files import is_model_folder

# One part of a model's name: what every file system takes, and no hidden folder.
_PART = re.compile(r"[^\x00-\x1f<>:\"/\\|?*.][^\x00-\x1f<>:\"/\\|?*]*(?<![. ])")
_MOST_PARTS = 4  # as deep as the loader looks


def save_model(
    folder: Path, weights: dict[str, Tensor], unet: UNetConfig, scheduler: SchedulerConfig
) -> None:
    """Write a diffusers pipeline folder: ``model_index.json``, ``unet/`` and ``scheduler/``.

    A file that is there already is replaced, each as a whole. The weights keep their dtype.

    Raises:
        OSError: a file cannot be written.
    """
    index = {
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    contents: dict[str, dict[str, Any]] = {
        "model_index.json": index,
        "unet/config.json": unet.to_dict(),
        "scheduler/scheduler_config.json": {
            "_class_name": "DDPMScheduler",
            **scheduler.to_dict(),
        },
    }
    for name, content in contents.items():
        _write(folder / name, (json.dumps(content, indent=2) + "\n").encode())
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    # Not save_file: its files can be read by their owner alone.
    _write(
        folder / "unet" / "diffusion_pytorch_model.safetensors",
        save(tensors, metadata={"format": "pt"}),
    )


def save_as_new_model(
    root: Path,
    name: str,
    weights: dict[str, Tensor],
    unet: UNetConfig,
    scheduler: SchedulerConfig,
    *,
    taken: Collection[str] = (),
) -> str:
    """Write a model folder below ``root`` under a name that is still free.

    The first is ``name``, then ``name_00002`` and so on. The folder gets its name when it is
    complete.

    Args:
        root: where models are saved; made where it is missing.
        name: of the folder, with ``/`` between the folder's parents.
        weights, unet, scheduler: as for ``save_model``.
        taken: further names that are not free.

    Returns:
        The name that it got.

    Raises:
        ValueError: the name cannot be one, or writing failed; nothing is left then.
    """
    name = _checked_name(root, name)
    unfinished = root / f".unfinished-{os.getpid()}"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        save_model(unfinished, weights, unet, scheduler)
        for number in count(1):
            own = name if number == 1 else f"{name}_{number:05}"
            target = root / own
            if own in taken or os.path.lexists(target):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(unfinished, target)
            return own
        raise AssertionError
    except OSError as error:
        raise ValueError(
            f"The model cannot be saved as {root / name}: {error.strerror or error}. Free some "
            "space, allow writing there, or choose another name."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _checked_name(root: Path, name: str) -> str:
    """Return a name below ``root`` with ``/`` as its separator, or raise ``ValueError``."""
    parts = name.strip().replace("\\", "/").split("/")
    if len(parts) > _MOST_PARTS or not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(
            f"'{name}' cannot be the name of a model. Use letters, digits, - and _, and at most "
            f"{_MOST_PARTS - 1} slashes for folders; it cannot lead outside {root}."
        )
    for k in range(len(parts)):
        above = root.joinpath(*parts[:k])
        # A link may lead anywhere.
        if not above.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"'{name}' leads outside {root}. Choose another name.")
        if k and is_model_folder(above):
            raise ValueError(
                f"'{'/'.join(parts[:k])}' is a model itself, and models inside of models are not "
                "found. Choose another name."
            )
    return "/".join(parts)


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
