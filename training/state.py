"""The state of a run on disk, from which it continues as if it had never stopped."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.differences import differences
from ..checkpoints.new_files import unfinished
from ..schedulers.errors import UserError

STATE = "training.pt"
SETTINGS = "training.json"


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the state, completely or not at all."""
    with unfinished(folder / STATE) as new:
        torch.save(state, new)
        os.replace(new, folder / STATE)


def read_state(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the state, with its tensors on ``device``; None if there is none.

    Raises:
        UserError: it is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state["step"], int):
            raise TypeError
    except Exception as error:  # torch raises many types on a damaged archive
        raise UserError(
            f"{path} is not a training state, or is damaged ({type(error).__name__}). Use another "
            "folder, or delete that file to start again."
        ) from error
    return state


def begin(folder: Path, settings: dict[str, Any]) -> None:
    """Record the settings of a new run, or check that they match the run in the folder.

    Raises:
        UserError: the folder contains a run with other settings.
        OSError: the folder cannot be written.
    """
    changes = list(changed_settings(folder, settings))
    if changes:
        raise UserError(
            f"{folder} contains another run: {'; '.join(changes)}. To continue it, use its "
            "settings. Otherwise use another folder, or delete that one to start again."
        )
    if (folder / SETTINGS).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with unfinished(folder / SETTINGS) as new:
        new.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        os.replace(new, folder / SETTINGS)


def changed_settings(folder: Path, settings: dict[str, Any]) -> Iterator[str]:
    """Yield the differences from the settings of the run in a folder; nothing if there is none."""
    path = folder / SETTINGS
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(saved, dict):
            raise TypeError
    except FileNotFoundError:
        if (folder / STATE).exists():
            yield f"its {STATE} is from an earlier version of this trainer"
        elif (folder / "model_index.json").exists():
            yield "its model was not trained here"
        return
    except (ValueError, TypeError):
        yield f"its {SETTINGS} is damaged"
        return
    yield from differences(saved, json.loads(json.dumps(settings)))
