"""The configuration of a UNet2D, as diffusers writes it into ``config.json``."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_type_hints

from ..networks.base import NetworkConfig
from ..networks.errors import CheckpointError, ConfigError, shown
from ..networks.fields import read_fields
from .activations import ACTIVATIONS
from .normalization import quarter_groups

# The options with a fixed set of values. A resampling type of None means "conv".
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "time_embedding_type": ("positional", "fourier", "learned"),
    "mid_block_type": ("UNetMidBlock2D", None),
    "downsample_type": ("conv", "resnet", None),
    "upsample_type": ("conv", "resnet", None),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "class_embed_type": (None, "timestep", "identity"),
}

SKIP_IMAGE_CHANNELS = 3
"""Skip blocks pass on an image of three channels, whatever the model's own channels."""

DIFFUSERS_CLASS = "UNet2DModel"
OWN_CLASS = "UNet2D"
"""The class of a configuration that no ``UNet2DModel`` has; diffusers has no class of this name."""

# Far beyond any model, and small enough that the product of two does not overflow.
_MAX_CHANNELS = 65_536
_MAX_ENTRIES = 2**24


@dataclass(frozen=True)
class UNetConfig(NetworkConfig):
    """The fields of diffusers' ``UNet2DModel``, with its defaults, and a few more.

    Two things go beyond diffusers, for OpenAI's large networks: ``time_projection_dim``, and an
    ``attention_head_dim`` with one entry for each level, from the highest.
    """

    center_input_sample: bool = False
    time_embedding_type: str = "positional"
    time_embedding_dim: int | None = None
    time_projection_dim: int | None = None
    """Width of a timestep's sinusoids; None means that of the first level."""
    freq_shift: float = 0
    flip_sin_to_cos: bool = True
    down_block_types: tuple[str, ...] = (
        "DownBlock2D",
        "AttnDownBlock2D",
        "AttnDownBlock2D",
        "AttnDownBlock2D",
    )
    mid_block_type: str | None = "UNetMidBlock2D"
    up_block_types: tuple[str, ...] = (
        "AttnUpBlock2D",
        "AttnUpBlock2D",
        "AttnUpBlock2D",
        "UpBlock2D",
    )
    block_out_channels: tuple[int, ...] = (224, 448, 672, 896)
    layers_per_block: int = 2
    mid_block_scale_factor: float = 1
    downsample_padding: int = 1
    downsample_type: str | None = "conv"
    upsample_type: str | None = "conv"
    dropout: float = 0.0
    act_fn: str = "silu"
    attention_head_dim: int | tuple[int, ...] | None = 8
    norm_num_groups: int | None = 32
    attn_norm_num_groups: int | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: str = "default"
    add_attention: bool = True
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    num_train_timesteps: int | None = None

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "UNetConfig":
        """Parse the contents of a ``config.json``.

        A null field takes its default, unless null is a valid value. An unknown field is ignored
        with a warning, as in diffusers.

        Raises:
            ConfigError: a field has the wrong type, contradicts another or is not supported, or it
                is unknown and changes the network's output. The message names the field.
        """
        class_name = fields.get("_class_name") or DIFFUSERS_CLASS
        if class_name not in (DIFFUSERS_CLASS, OWN_CLASS):
            raise ConfigError(
                f"This model is a '{shown(str(class_name))}'. Only unconditional pixel-space "
                "models (diffusers' 'UNet2DModel') can be loaded here."
            )
        types_by_name = get_type_hints(cls)
        del types_by_name["warnings"]
        values, warnings = read_fields(fields, types_by_name)
        config = cls(**values, warnings=warnings)
        config._check()
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of a ``config.json``.

        diffusers reads it too, unless it contains ``not_for_diffusers``.
        """
        values = dataclasses.asdict(self)
        del values["warnings"]
        if self.time_projection_dim is None:
            del values["time_projection_dim"]
        reason = self.not_for_diffusers
        if not reason:
            return {"_class_name": DIFFUSERS_CLASS, **values}
        return {"_class_name": OWN_CLASS, "not_for_diffusers": reason, **values}

    @property
    def not_for_diffusers(self) -> str:
        beyond = []
        if self.time_projection_dim is not None:
            beyond.append(
                f"its first level ({self.block_out_channels[0]} channels) is not as wide as the "
                f"input of its time embedding ({self.time_projection_dim})"
            )
        if isinstance(self.attention_head_dim, tuple):
            widths = ", ".join(map(str, self.attention_head_dim))
            beyond.append(f"the widths of its attention heads differ by level ({widths})")
        return (
            f"diffusers' {DIFFUSERS_CLASS} cannot express this network: {', and '.join(beyond)}."
            if beyond
            else ""
        )

    @property
    def widths(self) -> tuple[int, ...]:
        return self.block_out_channels

    @property
    def time_channels(self) -> int:
        """Width of the time embedding that the blocks receive."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    @property
    def time_input_channels(self) -> int:
        """Width of a timestep's embedding before the MLP widens it."""
        width = self.time_projection_dim or self.block_out_channels[0]
        return width * (2 if self.is_variance_exploding else 1)

    @property
    def is_variance_exploding(self) -> bool:
        """Whether the network takes sigmas instead of timesteps (NCSN++, Song et al. 2021)."""
        return self.time_embedding_type == "fourier"

    @property
    def has_classes(self) -> bool:
        """Whether the network needs a class label."""
        return self.class_embed_type is not None or self.num_class_embeds is not None

    def head_dim(self, level: int) -> int | None:
        """Return the channels of each head on a level, counted from the highest; None: one head."""
        if isinstance(self.attention_head_dim, tuple):
            return self.attention_head_dim[level]
        return self.attention_head_dim

    def groups(self, channels: int) -> int:
        """Return the number of groups for ``channels`` in the mid block and the output layers."""
        return quarter_groups(channels) if self.norm_num_groups is None else self.norm_num_groups

    def check_unconditional(self) -> None:
        """Raise ``CheckpointError`` unless the network's only inputs are x_t and the timestep.

        Such a network has as many outputs as inputs, or twice as many (a learned variance).
        """
        if self.in_channels > self.out_channels:
            raise CheckpointError(conditioned(self.in_channels, self.out_channels))
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise CheckpointError(
                f"The network has {self.in_channels} in_channels and {self.out_channels} "
                "out_channels, so it cannot be loaded. An unconditional model has as many outputs "
                "as inputs, or twice as many with a learned variance."
            )

    def check_class_label(self, label: int | None) -> None:
        """Raise ``ConfigError`` unless the network accepts this class; None means no class."""
        super().check_class_label(label)
        if not self.has_classes:
            return
        count = self._class_count()
        if label is None:
            known = "a number from 0" if count is None else f"0 to {count - 1}"
            raise ConfigError(
                f"This model was trained with classes and needs a class label. Set class_label "
                f"({known})."
            )
        if label < 0 or (count is not None and label >= count):
            raise ConfigError(
                f"class_label {label} is not one of this model's classes. Use "
                f"{'0 or more' if count is None else f'0 to {count - 1}'}."
            )
        if self.class_embed_type == "timestep" and self.is_variance_exploding and label == 0:
            raise ConfigError(
                "class_label must not be 0 for this model, which takes its logarithm. Use 1 or "
                "more."
            )

    def _class_count(self) -> int | None:
        """Return the number of classes, or None if any number is valid."""
        if self.class_embed_type is None:
            return self.num_class_embeds
        if self.class_embed_type == "timestep" and self.time_embedding_type == "learned":
            return self.num_train_timesteps
        return None

    def _check(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"'{name}' must be {_listed(choices)}, not {shown(repr(getattr(self, name)))}."
                )
        if self.act_fn.lower() not in ACTIVATIONS:
            given = shown(repr(self.act_fn))
            raise ConfigError(f"'act_fn' must be {_listed(ACTIVATIONS)}, not {given}.")
        self._check_levels()
        self._check_numbers()
        self._check_time()
        self._check_skips()
        self._check_heads()
        if self.sample_size is not None:
            if min(self.size) < 1:
                raise ConfigError(f"'sample_size' must be at least 1, not {self.sample_size}.")
            self.check_size(*self.size)

    def _check_levels(self) -> None:
        levels = len(self.block_out_channels)
        if not 1 <= levels <= 16:
            raise ConfigError(f"'block_out_channels' must have 1 to 16 entries, not {levels}.")
        for name in ("down_block_types", "up_block_types"):
            if len(getattr(self, name)) != levels:
                raise ConfigError(
                    f"'{name}' has {len(getattr(self, name))} entries, but "
                    f"'block_out_channels' has {levels}."
                )

    def _check_numbers(self) -> None:
        channels = (
            "in_channels",
            "out_channels",
            "time_embedding_dim",
            "time_projection_dim",
            "norm_num_groups",
            "attn_norm_num_groups",
        )
        counts = [(name, getattr(self, name), _MAX_CHANNELS) for name in channels]
        for name in ("block_out_channels", "attention_head_dim"):
            value = getattr(self, name)
            entries = enumerate(value) if isinstance(value, tuple) else ()
            counts += [(f"{name}[{i}]", width, _MAX_CHANNELS) for i, width in entries]
        if not isinstance(self.attention_head_dim, tuple):
            counts.append(("attention_head_dim", self.attention_head_dim, _MAX_CHANNELS))
        counts += [
            (name, getattr(self, name), _MAX_ENTRIES)
            for name in ("num_class_embeds", "num_train_timesteps")
        ]
        for name, value, most in counts:
            if value is not None and not 1 <= value <= most:
                raise ConfigError(f"'{name}' must be 1 to {most}, not {value}.")
        if not 0 <= self.layers_per_block <= 64:
            raise ConfigError(f"'layers_per_block' must be 0 to 64, not {self.layers_per_block}.")
        if not self.layers_per_block and len(set(self.block_out_channels)) > 1:
            raise ConfigError(
                "With 'layers_per_block' 0 nothing changes the width, so all of "
                f"'block_out_channels' must be equal, not {list(self.block_out_channels)}."
            )
        for name in ("norm_eps", "mid_block_scale_factor"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"'{name}' must be above 0, not {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"'dropout' must be from 0 to below 1, not {self.dropout}.")
        if self.downsample_padding not in (0, 1):
            raise ConfigError(
                f"'downsample_padding' must be 0 or 1, not {self.downsample_padding}."
            )

    def _check_time(self) -> None:
        if self.time_embedding_type == "learned" and self.num_train_timesteps is None:
            raise ConfigError(
                "'time_embedding_type' is 'learned', which needs 'num_train_timesteps', the number "
                "of entries in the table. Add it to the configuration."
            )
        width = self.time_input_channels
        if self.time_embedding_type == "positional" and width // 2 == self.freq_shift > 0:
            raise ConfigError(
                f"'freq_shift' must not be {self.freq_shift}, half of the {width} channels of the "
                "time embedding's input, which would divide by zero."
            )

    def _check_skips(self) -> None:
        """Skip blocks pass an image to the next one, so there may be no gap between them."""
        down, up = (
            ["Skip" in kind for kind in kinds]
            for kinds in (self.down_block_types, self.up_block_types)
        )
        # The lowest level and, on the way up, the highest do not resample and need no image.
        if sorted(down[:-1], reverse=True) != down[:-1]:
            raise ConfigError(
                "'down_block_types': a Skip block needs the downsampled image from the level above "
                "it, so all levels above it must be Skip blocks too."
            )
        if any(down[:-1]) and self.in_channels != SKIP_IMAGE_CHANNELS:
            raise ConfigError(f"Skip blocks need 3 'in_channels', not {self.in_channels}.")
        if any(up[:-1]):
            if not all(up[up.index(True) :]):
                raise ConfigError(
                    "'up_block_types': a Skip block passes on an image that the next level must "
                    "upsample, so all levels after it must be Skip blocks too."
                )
            if self.out_channels != SKIP_IMAGE_CHANNELS:
                raise ConfigError(f"Skip blocks need 3 'out_channels', not {self.out_channels}.")

    def _check_heads(self) -> None:
        levels = len(self.block_out_channels)
        if isinstance(self.attention_head_dim, tuple) and len(self.attention_head_dim) != levels:
            raise ConfigError(
                f"'attention_head_dim' has {len(self.attention_head_dim)} entries, but "
                f"'block_out_channels' has {levels}. Write one number for all levels, or one for "
                "each."
            )
        down = self.down_block_types if self.layers_per_block else ("",) * levels
        up = reversed(self.up_block_types)
        for level, kinds in enumerate(zip(down, up, strict=True)):
            in_middle = self.add_attention and self.mid_block_type and level == levels - 1
            width, head = self.block_out_channels[level], self.head_dim(level)
            if (in_middle or any("Attn" in kind for kind in kinds)) and (head or 0) > width:
                raise ConfigError(
                    f"'attention_head_dim' ({head}) must not be more than the {width} channels of "
                    "a level with attention."
                )


def conditioned(inputs: int, outputs: int) -> str:
    """Return the message for a network that takes another image along with the noisy one."""
    return (
        f"The network takes {inputs} channels and returns {outputs}: along with the noisy image it "
        "needs another image, like models for super-resolution, colourisation or inpainting. These "
        "samplers do not provide one, so it cannot be loaded. Use the program it was made for."
    )


def _listed(choices: Iterable[str | None]) -> str:
    *most, last = ("null" if choice is None else f"'{choice}'" for choice in choices)
    return f"{', '.join(most)} or {last}"
