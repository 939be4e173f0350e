"""What a picture's record contains about its MODEL."""

import logging
from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher

from ..pictures.provenance import Record
from ..schedulers.errors import printable
from .canvas import Canvas
from .image_patch import patches_of
from .our_model import unconditional_model
from .restoration import Restoration
from .steering import Steering

logger = logging.getLogger(__name__)


def describe_model(model: ModelPatcher) -> Record:
    """Return which weights a MODEL of this pack has, and what nodes have patched on it.

    This runs when the pictures are finished, so an error must not lose them: a value that cannot be
    determined is replaced by the reason.
    """
    ours = unconditional_model(model)
    parts: dict[str, Callable[[], Any]] = {
        "model": lambda: ours.source.name,
        "sha256": lambda: ours.source.sha256,
        "dtype": lambda: str(ours.get_dtype()).removeprefix("torch."),
        "patched": lambda: _patches(model),
        "restored": lambda: [p.record for p in patches_of(model.model_options, Restoration)],
        "steered": lambda: [p.record for p in patches_of(model.model_options, Steering)],
    }
    record: Record = {}
    for name, find in parts.items():
        try:
            record[name] = find()
        except Exception as error:
            reason = printable(str(error))
            logger.warning("The pictures do not record the %s of their model: %s", name, reason)
            record[f"{name}_unknown"] = reason
    for name in ("patched", "restored", "steered"):
        if not record.get(name):
            record.pop(name, None)
    return {**record, **Canvas.of(model.model_options["transformer_options"]).record}


def _patches(model: ModelPatcher) -> list[str]:
    """Return the host's names of what other nodes have patched on a MODEL."""
    options: dict[str, Any] = dict(model.model_options)
    transformer_options: dict[str, Any] = dict(options.pop("transformer_options", {}))
    # What the record has elsewhere, and what every MODEL of this pack has.
    transformer_options.pop(Canvas.KEY, None)
    wrappers = {
        kind: {key: found for key, found in by_key.items() if key != Canvas.KEY and found}
        for kind, by_key in model.wrappers.items()
    }
    inner = [transformer_options.pop(name, {}) for name in ("patches", "patches_replace")]
    changed = [options, transformer_options, *inner, model.object_patches, wrappers]
    changed += [model.injections, model.additional_models]
    names = {str(name) for part in changed for name, content in part.items() if content}
    if model.patches or model.weight_wrapper_patches or model.hook_patches:
        names.add("weights")
    return sorted(names)
