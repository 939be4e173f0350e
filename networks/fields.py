"""The fields of a ``config.json``: their types, nulls and unknown names."""

import types
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_args, get_origin

from ..schedulers.config import SchedulerConfig
from .errors import ConfigError, shown

# Fields that do not affect the network. Most describe how the weights were averaged; diffusers'
# EMAModel writes them into `unet_ema/config.json`.
_WITHOUT_EFFECT = {
    "decay",
    "inv_gamma",
    "min_decay",
    "optimization_step",
    "power",
    "update_after_step",
    "use_ema_warmup",
    "quantization_config",
    "not_for_diffusers",
}
# Fields that UNet2DModel does not have, but that change the output of a network that has them.
_CHANGES_OUTPUT = {
    "addition_embed_type": "it is conditioned on more than the timestep",
    "cross_attention_dim": "it is conditioned on a text or an image",
    "encoder_hid_dim": "it is conditioned on a text or an image",
    "num_heads": "it is only for files in OpenAI's format; use 'attention_head_dim' here",
    "projection_class_embeddings_input_dim": "it is conditioned on more than the timestep",
    "rescale_timesteps": "it is only for files in OpenAI's format",
    "time_cond_proj_dim": "it is conditioned on a guidance scale",
    "use_new_attention_order": "it is only for files in OpenAI's format",
    **dict.fromkeys(
        {field.name for field in fields(SchedulerConfig)}
        - {"num_train_timesteps", "optimised", "warnings"},
        "it is a scheduler option, which belongs in scheduler_config.json or, for a single file, "
        "in the entry 'scheduler'",
    ),
}

_LARGEST = 1e15


def read_fields(
    given: dict[str, Any], types_by_name: dict[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the values of the known fields, and warnings for the user about the others.

    A null field is left out, unless null is a valid value.

    Raises:
        ConfigError: a field has the wrong type, or it is unknown and changes the network's output.
            The message names the field.
    """
    present = {
        name: value
        for name, value in given.items()
        if value is not None or type(None) in get_args(types_by_name.get(name))
    }
    values = {
        name: _typed(name, value, types_by_name[name])
        for name, value in present.items()
        if name in types_by_name
    }
    return values, _ambiguous_nulls(given) + _unknown(present.keys() - types_by_name.keys())


def _ambiguous_nulls(given: dict[str, Any]) -> tuple[str, ...]:
    """Warn about each null that means true here and false in diffusers."""
    return tuple(
        f"'{name}' is null in the network's configuration. Null means the default, true, here, but "
        "false in diffusers. Set it to true or false."
        for name in ("flip_sin_to_cos", "add_attention")
        if name in given and given[name] is None
    )


def _unknown(names: Iterable[str]) -> tuple[str, ...]:
    """Warn about ignored fields; raise ``ConfigError`` for one that must not be ignored."""
    unknown = sorted(n for n in names if not n.startswith("_") and n not in _WITHOUT_EFFECT)
    for name in unknown:
        if name in _CHANGES_OUTPUT:
            raise ConfigError(
                f"The network's configuration has the field '{name}', which is not supported "
                f"there: {_CHANGES_OUTPUT[name]}."
            )
    if not unknown:
        return ()
    more = ", ..." if len(unknown) > 5 else ""
    listed = ", ".join(f"'{shown(name, 60)}'" for name in unknown[:5])
    return (f"The network's configuration has unknown fields, which were ignored: {listed}{more}.",)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return a JSON value as the field's type, or raise ``ConfigError`` naming the field."""
    for option in get_args(hint) if get_origin(hint) is types.UnionType else (hint,):
        # Python's JSON parser accepts NaN, infinity and integers too large for any float.
        if option is float:
            if _is_number(value):
                return value
            continue
        if type(value) is int and abs(value) >= 2**63:
            continue
        if get_origin(option) is tuple and isinstance(value, list | tuple):
            item, fixed_length = get_args(option)[0], Ellipsis not in get_args(option)
            right_length = not fixed_length or len(value) == len(get_args(option))
            if right_length and all(
                type(entry) is item and (item is not int or abs(entry) < 2**63) for entry in value
            ):
                return tuple(value)
        if type(value) is option:
            return value
    readable = str(getattr(hint, "__name__", hint)) if isinstance(hint, type) else str(hint)
    raise ConfigError(f"'{name}' must be {readable}, not {value!r:.100}.")
