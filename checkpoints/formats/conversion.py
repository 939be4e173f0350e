"""What all formats share: the result of a conversion, and helpers for names and shapes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...networks.base import Network, NetworkConfig
from ...networks.errors import CheckpointError, ConfigError, shown
from ...unet.config import UNetConfig
from ...unet.unet2d import UNet2D

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Converted:
    """A checkpoint converted to the names of ``network``.

    ``scheduler`` has the entries of a ``scheduler_config.json`` that are usual for such models;
    None if nothing is known. ``assumed`` has the fields that cannot be inferred from the tensors
    and were set to the usual values. ``stored`` has entries of the schedule that the file shows.
    """

    config: NetworkConfig
    weights: Weights
    scheduler: dict[str, Any] | None = None
    assumed: dict[str, Any] = field(default_factory=dict)
    stored: dict[str, Any] = field(default_factory=dict)
    network: type[Network] = UNet2D


@dataclass(frozen=True)
class Format:
    """One way in which checkpoints name their tensors.

    ``convert(weights, given)`` takes the tensors and the fields of the user's JSON: those of a
    ``config.json``, which override what is inferred, and those specific to the format.
    ``class_names`` are those of its networks in a ``config.json``.
    """

    matches: Callable[[Iterable[str]], bool]
    convert: Callable[[Weights, dict[str, Any]], Converted]
    class_names: tuple[str, ...] = ()


def shape_of(weights: Weights, name: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape of a tensor that must be there.

    Raises:
        CheckpointError: it is missing, or has another number of dimensions.
    """
    tensor = weights.get(name)
    if tensor is None:
        raise CheckpointError(
            f"The tensor {name} is missing. The checkpoint may be incomplete; download it again."
        )
    if tensor.ndim != dimensions or 0 in tensor.shape:
        raise CheckpointError(
            f"The tensor {name} has the shape {tuple(tensor.shape)}, but {dimensions} dimensions, "
            "none of them 0, are expected."
        )
    return tuple(tensor.shape)


def rename(weights: Weights, new_name: Callable[[str], str]) -> Weights:
    """Return the tensors under new names.

    Raises:
        CheckpointError: two of them would have the same name.
    """
    renamed: Weights = {}
    for name, tensor in weights.items():
        new = new_name(name)
        if new in renamed:
            raise CheckpointError(
                f"The tensor {shown(name)} would be renamed to {shown(new)}, but so would another "
                "one. The file is damaged."
            )
        renamed[new] = tensor
    return renamed


def count(names: Iterable[str], prefix: str) -> int:
    """Return how many consecutive numbers, from 0, follow ``prefix`` in ``names``."""
    start = len(prefix)
    found = {name[start:].split(".", 1)[0] for name in names if name.startswith(prefix)}
    return next(i for i in range(len(found) + 1) if str(i) not in found)


def multipliers(widths: tuple[int, ...]) -> tuple[float, ...]:
    """Return the widths of the levels relative to the first."""
    return tuple(width / widths[0] for width in widths)


def choose(
    given: dict[str, Any], inferred: dict[str, Any], assumed: dict[str, Any]
) -> tuple[UNetConfig, dict[str, Any]]:
    """Return the configuration, in which ``given`` takes precedence, and what was assumed in it.

    Raises:
        ConfigError: the configuration is wrong, or the sample size is unknown.
    """
    left = {name: value for name, value in assumed.items() if name not in given}
    config = UNetConfig.from_dict({**inferred, **assumed, **given})
    if config.sample_size is None:
        raise ConfigError(
            "The image size cannot be inferred from the tensors. "
            'Write {"sample_size": 64}, with the right number,'
        )
    return config, left


def as_linear(weight: Tensor) -> Tensor:
    """Return the weight of a 1x1 convolution, (out, in, 1, ...), as that of a linear layer."""
    return weight.flatten(1) if weight.shape[2:].numel() == 1 else weight
