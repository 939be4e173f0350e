"""The configuration of a UNet2D, as diffusers writes it into ``config.json``."""

import dataclasses
import math
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin, get_type_hints

from .activations import ACTIVATIONS
from .errors import ConfigError, shown
from .normalization import quarter_groups

# Written into `unet_ema/config.json` by diffusers' EMAModel: how the weights were averaged.
_EMA_FIELDS = {
    "decay",
    "inv_gamma",
    "min_decay",
    "optimization_step",
    "power",
    "update_after_step",
    "use_ema_warmup",
}

# The options that are a choice. How to resample may be left open, which means "conv".
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "time_embedding_type": ("positional", "fourier", "learned"),
    "mid_block_type": ("UNetMidBlock2D", None),
    "downsample_type": ("conv", "resnet", None),
    "upsample_type": ("conv", "resnet", None),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "class_embed_type": (None, "timestep", "identity"),
}

SKIP_IMAGE_CHANNELS = 3
"""Skip blocks carry an image of three channels along, whatever else a model has."""

# Far beyond any model, and small enough that no product of two overflows.
_MOST_CHANNELS = 65_536
_MOST_ENTRIES = 2**24
_LARGEST = 1e15


@dataclass(frozen=True)
class UNetConfig:
    """One field for each field of diffusers' ``UNet2DModel``, with its defaults.

    Widths are in channels, sizes in pixels. ``sample_size`` is one side, (height, width) or None.
    """

    sample_size: int | tuple[int, int] | None = None
    in_channels: int = 3
    out_channels: int = 3
    center_input_sample: bool = False
    time_embedding_type: str = "positional"
    time_embedding_dim: int | None = None
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
    attention_head_dim: int | None = 8
    norm_num_groups: int | None = 32
    attn_norm_num_groups: int | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: str = "default"
    add_attention: bool = True
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    num_train_timesteps: int | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What the user should know about the file that this configuration was read from."""

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "UNetConfig":
        """Parse the contents of a ``config.json``.

        Raises:
            ConfigError: naming the field that is unknown, of the wrong type, contradictory or
                not supported.
        """
        class_name = fields.get("_class_name", "UNet2DModel")
        if class_name != "UNet2DModel":
            raise ConfigError(
                f"This is a '{shown(str(class_name))}'. Only unconditional pixel-space models "
                "(diffusers' 'UNet2DModel') can be loaded here."
            )
        given = {
            name: value
            for name, value in fields.items()
            if not name.startswith("_") and name not in _EMA_FIELDS
        }
        types_by_name = get_type_hints(cls)
        del types_by_name["warnings"]
        unknown = sorted(given.keys() - types_by_name.keys())
        if unknown:
            raise ConfigError(
                f"The configuration has unknown fields: {shown(', '.join(unknown))}. "
                "It was written by a newer library or for another model."
            )
        config = cls(
            **{name: _typed(name, value, types_by_name[name]) for name, value in given.items()}
        )
        config._check()
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of a ``config.json`` that diffusers reads."""
        values = dataclasses.asdict(self)
        del values["warnings"]
        return {"_class_name": "UNet2DModel", **values}

    @property
    def time_channels(self) -> int:
        """Width of the time embedding that the blocks receive."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

    @property
    def time_input_channels(self) -> int:
        """Width of a timestep's embedding before the network widens it."""
        return self.block_out_channels[0] * (2 if self.is_variance_exploding else 1)

    @property
    def is_variance_exploding(self) -> bool:
        """Whether the network is told sigmas, not timesteps (NCSN++, Song et al. 2021)."""
        return self.time_embedding_type == "fourier"

    @property
    def has_classes(self) -> bool:
        """Whether the network must be told what class of image to make."""
        return self.class_embed_type is not None or self.num_class_embeds is not None

    def groups(self, channels: int) -> int:
        """How many groups ``channels`` have in the middle and at the end of the network."""
        return quarter_groups(channels) if self.norm_num_groups is None else self.norm_num_groups

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the model was trained at, in pixels.

        Raises:
            ConfigError: the configuration does not say.
        """
        if self.sample_size is None:
            raise ConfigError(
                "The model's config.json has no 'sample_size', so the size of its images is not "
                'known. Write it there, for example "sample_size": 64.'
            )
        if isinstance(self.sample_size, int):
            return self.sample_size, self.sample_size
        return self.sample_size

    @property
    def size_multiple(self) -> int:
        """Height and width must be divisible by this."""
        return 2 ** (len(self.block_out_channels) - 1)

    def check_size(self, height: int, width: int) -> None:
        """Raise ``ConfigError`` unless the network can halve this size on each of its levels."""
        if height % self.size_multiple or width % self.size_multiple:
            raise ConfigError(
                f"Height and width must be divisible by {self.size_multiple} for this model "
                f"({len(self.block_out_channels)} levels), not {height} x {width}."
            )

    def check_class_label(self, label: int | None) -> None:
        """Raise ``ConfigError`` unless the network can be told this class; None is no class."""
        if not self.has_classes:
            if label is not None:
                raise ConfigError(
                    f"This model was trained without classes, so it cannot take class_label "
                    f"{label}. Set class_label to -1."
                )
            return
        count = self._class_count()
        if label is None:
            known = "a number from 0" if count is None else f"0 to {count - 1}"
            raise ConfigError(
                f"This model was trained with classes and needs to know which one to make. Set "
                f"class_label ({known})."
            )
        if label < 0 or (count is not None and label >= count):
            raise ConfigError(
                f"class_label {label} is not one of this model's classes"
                f"{'' if count is None else f', 0 to {count - 1}'}."
            )
        if self.class_embed_type == "timestep" and self.is_variance_exploding and label == 0:
            raise ConfigError(
                "This model takes the logarithm of class_label, so 0 is not possible."
            )

    def _class_count(self) -> int | None:
        """How many classes there are; None where any number is one."""
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
            raise ConfigError(f"A model has 1 to 16 levels, not {levels} block_out_channels.")
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
            "norm_num_groups",
            "attn_norm_num_groups",
            "attention_head_dim",
        )
        counts = [(name, getattr(self, name), _MOST_CHANNELS) for name in channels]
        counts += [
            (f"block_out_channels[{i}]", width, _MOST_CHANNELS)
            for i, width in enumerate(self.block_out_channels)
        ]
        counts += [
            (name, getattr(self, name), _MOST_ENTRIES)
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
                "'time_embedding_type' is 'learned', a table of 'num_train_timesteps' entries, but "
                "the configuration does not say how many."
            )
        frequencies = self.block_out_channels[0] // 2
        if self.time_embedding_type == "positional" and frequencies == self.freq_shift > 0:
            raise ConfigError(
                f"'freq_shift' must not be {self.freq_shift}, half of the first of "
                "'block_out_channels': the time would be divided by zero."
            )

    def _check_skips(self) -> None:
        """Skip blocks hand an image on to each other, so none may be left out between them."""
        down, up = (
            ["Skip" in kind for kind in kinds]
            for kinds in (self.down_block_types, self.up_block_types)
        )
        # The lowest level and, going up, the highest do not resample: they need no image.
        if sorted(down[:-1], reverse=True) != down[:-1]:
            raise ConfigError(
                "'down_block_types': a Skip block needs the image that the level above it has "
                "shrunk, so all levels above it must be Skip blocks too."
            )
        if any(down[:-1]) and self.in_channels != SKIP_IMAGE_CHANNELS:
            raise ConfigError(f"Skip blocks need 3 'in_channels', not {self.in_channels}.")
        if any(up[:-1]):
            if not all(up[up.index(True) :]):
                raise ConfigError(
                    "'up_block_types': a Skip block leaves an image that the next level must "
                    "enlarge, so all levels after it must be Skip blocks too."
                )
            if self.out_channels != SKIP_IMAGE_CHANNELS:
                raise ConfigError(f"Skip blocks need 3 'out_channels', not {self.out_channels}.")

    def _check_heads(self) -> None:
        if self.attention_head_dim is None:
            return
        levels = [*zip(reversed(self.block_out_channels), self.up_block_types, strict=True)]
        if self.layers_per_block:
            levels += zip(self.block_out_channels, self.down_block_types, strict=True)
        with_attention = {channels for channels, kind in levels if "Attn" in kind}
        if self.add_attention and self.mid_block_type is not None:
            with_attention.add(self.block_out_channels[-1])
        if with_attention and self.attention_head_dim > min(with_attention):
            raise ConfigError(
                f"'attention_head_dim' ({self.attention_head_dim}) must not be more than the "
                f"{min(with_attention)} channels of a level with attention."
            )


def _listed(choices: Iterable[str | None]) -> str:
    *most, last = ("null" if choice is None else f"'{choice}'" for choice in choices)
    return f"{', '.join(most)} or {last}"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return a JSON value as the field's type, or raise ``ConfigError`` naming the field."""
    for option in get_args(hint) if get_origin(hint) is types.UnionType else (hint,):
        # JSON as Python reads it has NaN, infinity and whole numbers beyond every float.
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
