"""Named tensors out of safetensors files and pickles; nothing here knows what they are for."""

import json
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..schedulers.errors import printable, printable_cause
from .errors import CheckpointError, ConfigError, shown

logger = logging.getLogger(__name__)

_CONVERT = (
    "Where you trust its source, load it in Python with torch.load(path, weights_only=False), save "
    "its tensors with safetensors.torch.save_file, and use that file."
)

# Under these names people save the network beside what they need to go on training.
_NESTED = ("ema", "state_dict", "model_state_dict", "model")


def read_tensors(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Read the tensors of a model, from one file or from its shards, onto the CPU.

    Pickles are opened with ``weights_only=True``. In one that a training run has saved
    (``[network, optimizer, epoch, step, ema]``, or under a name such as "state_dict") the averaged
    weights are taken where there are any. The prefix ``module.`` of DataParallel is dropped.

    Raises:
        CheckpointError: a file is damaged, holds code or no named tensors, or a tensor is in two
            files.
    """
    weights: dict[str, Tensor] = {}
    for path in paths:
        part = _read_file(path)
        twice = weights.keys() & part.keys()
        if twice:
            raise CheckpointError(f"{path} has {shown(min(twice))}, which another part has too.")
        weights |= part
    return weights


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the configuration in a safetensors file's metadata, or an empty one.

    The entry ``config`` holds what would stand in ``config.json``, and ``scheduler_config`` what
    would stand in that file.

    Raises:
        ConfigError: an entry is not JSON.
        CheckpointError: the file is damaged.
    """
    if path.suffix.lower() != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error
    fields: dict[str, Any] = {}
    for entry in ("config", "scheduler_config"):
        if entry not in metadata:
            continue
        try:
            content = json.loads(metadata[entry])
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{path}: '{entry}' in its metadata is not JSON ({error})."
            ) from error
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: '{entry}' in its metadata is no configuration.")
        fields |= content if entry == "config" else {"scheduler": content}
    return fields


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} was not opened: it is damaged, or holds code beside tensors, which could do "
            f"anything to this machine. {_CONVERT}"
        ) from printable_cause(error)
    except Exception as error:  # torch raises many types on a damaged archive
        raise CheckpointError(
            f"{path} cannot be read ({type(error).__name__}: {error!s:.200}). It may be a partial "
            "download; download it again."
        ) from printable_cause(error)
    weights = _network(content, path)
    if not weights:
        raise CheckpointError(
            f"{path} does not hold a plain list of named tensors, but a {type(content).__name__} "
            f"of something else. {_CONVERT}"
        )
    return _without_prefix(weights)


def _unreadable(path: Path, error: Exception) -> str:
    if printable(str(path)) != str(path):
        return f"safetensors cannot open {path}, whose name is not valid UTF-8. Rename it."
    return (
        f"{path} is not a readable safetensors file ({error!s:.200}). It may be a partial "
        "download, or a Git LFS pointer; download it again."
    )


def _network(content: Any, path: Path) -> dict[str, Tensor] | None:
    """The named tensors in what a pickle held, or None."""
    if _is_named_tensors(content):
        return content
    if isinstance(content, list | tuple) and content and _is_named_tensors(content[0]):
        trained = _without_prefix(content[0])
        averaged = content[-1]
        if len(content) > 1 and _is_named_tensors(averaged):
            averaged = _without_prefix(averaged)
            if averaged.keys() == trained.keys():
                logger.warning("%s has averaged (EMA) weights too; those are used.", path.name)
                return averaged
        return trained
    if isinstance(content, dict):
        found = (content[name] for name in _NESTED if _is_named_tensors(content.get(name)))
        return next(found, None)
    return None


def _is_named_tensors(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    )


def _without_prefix(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "module."
    if not all(name.startswith(prefix) for name in weights):
        return weights
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
