"""What all formats share: the result of a conversion, and how shapes are asked for."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...unet.config import UNetConfig
from ...unet.errors import CheckpointError, ConfigError, shown

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Converted:
    """A foreign checkpoint as diffusers would have it.

    ``scheduler`` holds the entries of a ``scheduler_config.json`` that are usual for such models,
    None where nothing is known; ``assumed`` what the tensors do not tell and was taken as usual.
    """

    config: UNetConfig
    weights: Weights
    scheduler: dict[str, Any] | None = None
    assumed: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One way in which checkpoints name their tensors.

    ``convert(weights, told)`` takes the tensors and what the user's JSON says: fields of a
    ``config.json``, which win over what is inferred, and those that only the format knows.
    """

    matches: Callable[[Iterable[str]], bool]
    convert: Callable[[Weights, dict[str, Any]], Converted]


def shape_of(weights: Weights, name: str, dimensions: int) -> tuple[int, ...]:
    """Return the shape of a tensor that must be there.

    Raises:
        CheckpointError: it is missing, or has another number of dimensions.
    """
    tensor = weights.get(name)
    if tensor is None:
        raise CheckpointError(f"The checkpoint lacks the tensor {name}; it may be incomplete.")
    if tensor.ndim != dimensions or 0 in tensor.shape:
        raise CheckpointError(f"The tensor {name} has the impossible shape {tuple(tensor.shape)}.")
    return tuple(tensor.shape)


def rename(weights: Weights, new_name: Callable[[str], str]) -> Weights:
    """Return the tensors under new names.

    Raises:
        CheckpointError: two of them would have one name.
    """
    renamed: Weights = {}
    for name, tensor in weights.items():
        new = new_name(name)
        if new in renamed:
            raise CheckpointError(f"Two of the tensors become {shown(new)}; one is {shown(name)}.")
        renamed[new] = tensor
    return renamed


def count(names: Iterable[str], prefix: str) -> int:
    """Return how many numbers follow each other from 0 after ``prefix`` in ``names``."""
    start = len(prefix)
    found = {name[start:].split(".", 1)[0] for name in names if name.startswith(prefix)}
    return next(i for i in range(len(found) + 1) if str(i) not in found)


def multipliers(widths: tuple[int, ...]) -> tuple[float, ...]:
    """Return the widths of the levels relative to the first."""
    return tuple(width / widths[0] for width in widths)


def choose(
    told: dict[str, Any], inferred: dict[str, Any], assumed: dict[str, Any]
) -> tuple[UNetConfig, dict[str, Any]]:
    """Return the configuration, what the user said winning, and what was assumed after all.

    Raises:
        ConfigError: the configuration is wrong, or the sample size is not known.
    """
    left = {name: value for name, value in assumed.items() if name not in told}
    config = UNetConfig.from_dict({**inferred, **assumed, **told})
    if config.sample_size is None:
        raise ConfigError(
            "The size of its images cannot be read from the tensors. "
            'Write {"sample_size": 64}, with the right number,'
        )
    return config, left


def as_linear(weight: Tensor) -> Tensor:
    """Return a 1x1 convolution, (out, in, 1...) or (out, in, 1, 1), as a linear layer's weight."""
    return weight.flatten(1) if weight.shape[2:].numel() == 1 else weight
