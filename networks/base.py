"""The base of every network and of its configuration."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .edges import Edges
from .errors import ConfigError


@dataclass(frozen=True)
class NetworkConfig(ABC):
    """A network's configuration, as in its ``config.json``.

    Widths are in channels, sizes in pixels. ``sample_size`` is one side, (height, width) or None.
    The channels are those of the image; ``out_channels`` is twice as many with a learned variance.
    """

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 3
    out_channels: int = 3
    warnings: tuple[str, ...] = field(default=(), compare=False, kw_only=True)
    """Warnings for the user about the file that this configuration was read from."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the contents of a ``config.json``; its ``_class_name`` says which network."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Width of each level; each but the last halves the image."""

    @abstractmethod
    def check_unconditional(self) -> None:
        """Raise ``CheckpointError`` unless the network's only inputs are x_t and the timestep."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the model was trained at, in pixels.

        Raises:
            ConfigError: the configuration has no ``sample_size``.
        """
        if self.sample_size is None:
            raise ConfigError(
                "The model's config.json has no 'sample_size', so the size of its images is "
                'unknown. Add it, for example "sample_size": 64.'
            )
        if isinstance(self.sample_size, int):
            return self.sample_size, self.sample_size
        return self.sample_size

    @property
    def size_multiple(self) -> int:
        """Height and width must be divisible by this."""
        return 2 ** (len(self.widths) - 1)

    def check_size(self, height: int, width: int) -> None:
        """Raise ``ConfigError`` unless this size can be halved at each of the network's levels."""
        if height % self.size_multiple or width % self.size_multiple:
            raise ConfigError(
                f"Height and width must be divisible by {self.size_multiple} for this model "
                f"({len(self.widths)} levels), not {height} x {width}."
            )

    @property
    def has_classes(self) -> bool:
        """Whether the network needs a class label."""
        return False

    def check_class_label(self, label: int | None) -> None:
        """Raise ``ConfigError`` unless the network accepts this class; None means no class."""
        if label is not None and not self.has_classes:
            raise ConfigError(
                f"This model was trained without classes, so it does not accept class_label "
                f"{label}. Set class_label to -1."
            )

    @property
    def is_variance_exploding(self) -> bool:
        """Whether the network takes sigmas instead of timesteps."""
        return False

    @property
    def is_self_conditioned(self) -> bool:
        """Whether the network also takes its last predicted image."""
        return False

    @property
    def not_for_diffusers(self) -> str:
        """Why diffusers cannot build this network, in one sentence; "" if it can."""
        return ""


class Network(nn.Module, ABC):
    """A network that predicts what the model was trained to predict.

    It is called with x of shape (B, C, H, W) and timesteps of shape (B,) or one number for all; its
    configuration says which other inputs it takes. It returns (B, out_channels, H, W), in x's
    dtype.

    Args:
        config: what to build.
        operations: provides ``Conv2d``, ``Linear``, ``GroupNorm`` and ``Embedding``; a host passes
            its own, which cast and move weights on use.
        dtype, device: of the parameters.

    Attributes:
        edges: of the images; the layers use them after ``place_weights``.
    """

    @abstractmethod
    def __init__(
        self,
        config: Any,
        *,
        operations: Any = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.config = config
        self.dtype = dtype or torch.get_default_dtype()
        self.edges = Edges()

    @abstractmethod
    def activation_bytes(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> int:
        """Return the peak of the intermediate tensors of one evaluation in inference mode.

        Args:
            shape: of the images, (B, C, H, W); the result is proportional to B.
            dtype: the precision that the network computes in.
        """
