"""Finds the network's tensors in a file from a training program, whatever else it contains.

A file may have the network under any keys and with any prefix, plain and averaged (EMA), along with
an optimizer and other things. Tensors that belong together are found by their names, which match a
known format once the keys and the prefix are removed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from torch import Tensor

from ..networks.errors import CheckpointError, ConfigError, shown
from .formats import FORMATS, identify

Weights = dict[str, Tensor]
Place = tuple[str, ...]
"""The keys and the parts of a prefix that lead to something in a file."""

# The minimum number of a network's tensors; the maximum depth, and number of lists and dicts.
_FEWEST = 8
_DEPTH = 12
_MAX_CONTAINERS = 50_000

# Parts that module wrappers insert anywhere into names; no network has them itself.
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MODULE = "(?:model|unet|net|network|weights|params)"
_AVERAGED = re.compile(rf"{_MODULE}?ema{_MODULE}?|averag\w*|shadow|polyak|swa")
_PLAIN = {"online", "nonema", "collected"}
_NEGATIONS = {"non", "no", "not", "without"}
_TRAINING = {"optim", "optimizer", "optimizers", "opt", "scheduler", "schedulers", "sched"}
_LATENT = {"vae", "vqvae", "movq", "autoencoder", "first_stage_model"}
_CONDITION = {"text_encoder", "cond_stage_model"}

# A parameter that training does not change, so some programs do not average it.
_FIXED = "time_proj.weight"


@dataclass(frozen=True)
class Found:
    """A network in a file, its tensors under names without keys and prefix.

    ``kind`` is a key of ``FORMATS``. ``averaged`` is None if that is unknown. ``process`` has the
    tables of the diffusion process, shape (T,), that were saved along with the network, by their
    names; if there are any, the betas are among them.
    """

    weights: Weights
    kind: str
    place: Place = ()
    averaged: bool | None = None
    process: Weights = field(default_factory=dict)


def find_network(content: Any, unnamed: Callable[[], Weights] | None = None) -> Found:
    """Return the network in a file's contents; averaged weights are preferred to plain ones.

    Args:
        content: as returned by ``torch.load`` or safetensors.
        unnamed: returns the tensors of the configuration's network, in the order of diffusers'
            ``parameters()``, to match a list of tensors without names.

    Raises:
        ConfigError: the tensors have no names, and there is no configuration.
        CheckpointError: there is no network, several that differ, or one that works on latents, or
            the averaged weights do not fit the plain ones.
    """
    parts = list(_parts(content, (), count()))
    _check_pixel_space(parts)
    found: list[Found] = []
    for place, tensors in parts:
        found += _networks(tensors, place, _averaged_by_keys(place))
    found = _with_last_averaged(content, found)
    averaged = _distinct([network for network in found if network.averaged])
    plain = _distinct([network for network in found if not network.averaged])
    if not averaged:
        averaged = _averaged_otherwise(parts, plain, unnamed)
    chosen = averaged or plain
    if not chosen:
        raise CheckpointError(_nothing_found(content, parts))
    if len(chosen) > 1:
        places = ", ".join(name_of(network.place) for network in chosen)
        raise CheckpointError(
            f"The file contains {len(chosen)} different networks: {places}. Save only the one that "
            "you want, with torch.save(state_dict, path)."
        )
    (network,) = chosen
    if network.averaged and len(plain) == 1 and _FIXED in plain[0].weights:
        weights = {_FIXED: plain[0].weights[_FIXED], **network.weights}
        return replace(network, weights=weights)
    return network


def name_of(place: Place) -> str:
    """Return a readable name for a place in a file."""
    return shown(".".join(place), 100) or "the top level"


def is_averaged(name: str, before: bool | None = None) -> bool | None:
    """Whether a key or file name says that weights are averaged; ``before`` if it does not say."""
    words = _words(name)
    averaged = any(_AVERAGED.fullmatch(word) for word in words)
    if words & _PLAIN or (averaged and words & _NEGATIONS):
        return False
    return True if averaged else before


def _words(name: str) -> set[str]:
    return {word.lower() for word in _WORDS.findall(name)}


def _parts(content: Any, place: Place, seen: "count[int]") -> Iterator[tuple[Place, Weights]]:
    """Yield the place of each dict and list in ``content``, with the tensors directly in it.

    A list's tensors are named "0", "1", … The state of an optimizer is left out.
    """
    if next(seen) > _MAX_CONTAINERS:
        raise CheckpointError(
            f"The file contains more than {_MAX_CONTAINERS} lists and dicts, so it is not a model."
        )
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    tensors: Weights = {}
    inner: list[tuple[str, Any]] = []
    for key, value in entries:
        if not isinstance(key, str | int):
            continue
        if isinstance(value, Tensor):
            name = _WRAPPERS.sub("", str(key))
            tensors[name if name not in tensors else str(key)] = value
        elif isinstance(value, dict | list | tuple) and len(place) < _DEPTH:
            inner.append((str(key), value))
    if tensors:
        yield place, tensors
    for key, value in inner:
        words = _words(key)
        if not words & _TRAINING or words & _NEGATIONS:
            yield from _parts(value, (*place, key), seen)


def _networks(
    tensors: Weights, place: Place, averaged: bool | None, process: Weights | None = None
) -> Iterator[Found]:
    """Yield the networks among named tensors, whatever their prefixes."""
    process = _process(tensors) or process or {}
    if "n_averaged" in tensors:  # torch's AveragedModel
        averaged = True
    left: set[str] = set()
    for first, group in _by_first_part(tensors).items():
        inner: list[Found] = []
        if len(group) >= _FEWEST and len(place) < 2 * _DEPTH:
            inner += _networks(group, (*place, first), is_averaged(first, averaged), process)
            yield from inner
        if inner or is_averaged(first):
            left.add(first)
    own = {
        name: tensor
        for name, tensor in tensors.items()
        # Counters like n_averaged, initted and step are not part of a network.
        if name.partition(".")[0] not in left and ("." in name or tensor.numel() != 1)
    }
    kind = identify(own)
    if kind is not None:
        yield Found(own, kind, place, averaged, process)


def _process(tensors: Weights) -> Weights:
    """Return the betas, if they are valid, and everything of their shape and dtype."""
    betas = tensors.get("betas")
    if betas is None or betas.ndim != 1 or not betas.is_floating_point() or not betas.numel():
        return {}
    if not ((betas >= 0) & (betas <= 1)).all():
        return {}
    return {
        name: tensor
        for name, tensor in tensors.items()
        if tensor.shape == betas.shape and tensor.dtype == betas.dtype
    }


def _by_first_part(tensors: Weights) -> dict[str, Weights]:
    groups: dict[str, Weights] = {}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        if dot:
            groups.setdefault(first, {})[rest] = tensor
    return groups


def _with_last_averaged(content: Any, found: list[Found]) -> list[Found]:
    """Mark the last entry as averaged in lists like [network, optimizer, …, ema].

    Programs derived from Ho et al.'s code save such lists.
    """
    if not isinstance(content, list | tuple):
        return found
    last = str(len(content) - 1)
    first = next((network for network in found if network.place[:1] == ("0",)), None)
    return [
        replace(network, averaged=True)
        if first is not None
        and network.place[:1] == (last,)
        and last != "0"
        and network.averaged is None
        and network.weights.keys() == first.weights.keys()
        else network
        for network in found
    ]


def _distinct(found: list[Found]) -> list[Found]:
    kept: list[Found] = []
    for network in found:
        if not any(_same(network.weights, other.weights) for other in kept):
            kept.append(network)
    return kept


def _same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(
        a[name].shape == b[name].shape
        and (a[name].data_ptr() == b[name].data_ptr() or a[name].equal(b[name]))
        for name in a
    )


# Averaged weights whose tensors have lost their names


def _averaged_otherwise(
    parts: list[tuple[Place, Weights]],
    plain: list[Found],
    unnamed: Callable[[], Weights] | None,
) -> list[Found]:
    """Return averaged weights that are a list of tensors, or whose names have no dots.

    Raises:
        CheckpointError: there are averaged weights, but they do not fit the plain ones.
    """
    used = {id(tensor) for network in plain for tensor in network.weights.values()}
    groups: dict[Place, Weights] = {}
    for place, tensors in parts:
        for name, tensor in tensors.items():
            if id(tensor) not in used:
                *prefix, last = name.split(".")
                groups.setdefault((*place, *prefix), {})[last] = tensor
    averaged = {place: _averaged_by_keys(place) for place in groups}
    if not plain:
        return _by_configuration(groups, averaged, unnamed)
    groups = {place: tensors for place, tensors in groups.items() if averaged[place]}
    if len(plain) > 1 or not groups:
        return []
    (trained,) = plain
    found = [
        Found(weights, trained.kind, place, averaged=True)
        for place, tensors in groups.items()
        if (weights := _in_order(tensors, trained.weights) or _without_dots(tensors, trained))
    ]
    tensors = sum(len(tensors) for tensors in groups.values())
    if not found and 2 * tensors >= len(trained.weights):
        raise CheckpointError(
            f"The averaged (EMA) weights in {name_of(_common(list(groups)))} do not fit the plain "
            f"ones in {name_of(trained.place)}: {tensors} tensors instead of "
            f"{len(trained.weights)}, or other names or shapes. The plain ones would give "
            "different images. Save only the weights that you want, with "
            "torch.save(state_dict, path)."
        )
    return _distinct(found)


def _by_configuration(
    groups: dict[Place, Weights],
    averaged: dict[Place, bool | None],
    unnamed: Callable[[], Weights] | None,
) -> list[Found]:
    lists = {
        place: tensors
        for place, tensors in groups.items()
        if len(tensors) >= _FEWEST and _is_list(tensors) and averaged[place] is not False
    }
    if not lists:
        return []
    place, tensors = next(
        ((p, t) for p, t in lists.items() if averaged[p]), next(iter(lists.items()))
    )
    if unnamed is None:
        raise ConfigError(
            f"The {len(tensors)} tensors in {name_of(place)} have no names. Write the model's "
            "whole config.json, which defines them,"
        )
    weights = _in_order(tensors, unnamed())
    if weights is None:
        raise CheckpointError(
            f"The {len(tensors)} tensors in {name_of(place)} have no names, and their number or "
            "shapes do not match the configuration's network. Use the model's own config.json."
        )
    return [Found(weights, "diffusers", place, averaged[place])]


def _averaged_by_keys(place: Place) -> bool | None:
    averaged = None
    for key in place:
        averaged = is_averaged(key, averaged)
    return averaged


def _is_list(tensors: Weights) -> bool:
    return all(name.isdecimal() for name in tensors)


def _in_order(tensors: Weights, like: Weights) -> Weights | None:
    """Name a list's tensors like those in ``like``, in its order (diffusers' shadow_params)."""
    if not _is_list(tensors):
        return None
    values = [tensors[name] for name in sorted(tensors, key=int)]
    for names in (list(like), [name for name in like if name != _FIXED]):
        if [value.shape for value in values] == [like[name].shape for name in names]:
            return dict(zip(names, values, strict=True))
    return None


def _without_dots(tensors: Weights, trained: Found) -> Weights | None:
    """Find the tensors by the plain names without dots, as CompVis's LitEma saves them."""
    for k in range(len(trained.place) + 1):
        prefix = "".join(trained.place[k:])
        names = {name: (prefix + name).replace(".", "") for name in trained.weights}
        names = {name: dotless for name, dotless in names.items() if dotless in tensors}
        if len(set(names.values())) < len(names):
            continue  # two names would be the same
        if trained.weights.keys() - names.keys() <= {_FIXED} and all(
            tensors[dotless].shape == trained.weights[name].shape for name, dotless in names.items()
        ):
            return {name: tensors[dotless] for name, dotless in names.items()}
    return None


def _common(places: list[Place]) -> Place:
    """Return the start of the places, up to the first key that says averaged."""
    first = places[0]
    return next((first[: k + 1] for k in range(len(first)) if is_averaged(first[k])), first)


# What is wrong


def _check_pixel_space(parts: list[tuple[Place, Weights]]) -> None:
    keys = {key for place, _ in parts for key in place}
    keys |= {part for _, tensors in parts for name in tensors for part in name.split(".")[:-1]}
    if found := sorted(keys & _LATENT):
        raise CheckpointError(
            f"The file also contains an autoencoder ({found[0]}): its network works on latents, "
            "not on pixels. Only pixel-space models can be loaded here."
        )
    if found := sorted(keys & _CONDITION):
        raise CheckpointError(
            f"The file also contains a condition encoder ({found[0]}): its network needs text or "
            "another condition. Only unconditional models can be loaded here."
        )


def _nothing_found(content: Any, parts: list[tuple[Place, Weights]]) -> str:
    known = f"Supported formats, under any key and with any prefix: {', '.join(FORMATS)}."
    if not any(tensors for _, tensors in parts):
        return f"The file contains no named tensors, but {_described(content)}. {known}"
    return (
        f"The file is not an unconditional pixel-space UNet of a supported format. It contains "
        f"{_described(content)}. {known}"
    )


def _described(content: Any, *, inner: bool = True) -> str:
    """Return the first keys of a file's contents, and the first ones below those."""
    if isinstance(content, Tensor):
        return f"tensor {tuple(content.shape)}"
    if not isinstance(content, dict | list | tuple):
        return type(content).__name__
    entries = list(content.items() if isinstance(content, dict) else enumerate(content))
    if not entries:
        return f"an empty {type(content).__name__}"
    limit = 6 if inner else 3
    first = [
        f"{shown(str(key), 60)}{f' ({_described(value, inner=False)})' if inner else ''}"
        for key, value in entries[:limit]
    ]
    return ", ".join(first) + (", …" if len(entries) > limit else "")
