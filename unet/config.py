"""The configuration of a UNet2D, as diffusers writes it into ``config.json``."""

import dataclasses
import math
import types
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

from .errors import ConfigError, shown

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

# Options that other models use and this network does not have yet, with the one value it does.
_FIXED = {
    "time_embedding_type": "positional",
    "mid_block_type": "UNetMidBlock2D",
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "attn_norm_num_groups": None,
    "resnet_time_scale_shift": "default",
    "class_embed_type": None,
    "num_class_embeds": None,
}

# Far beyond any model, and small enough that no product of two overflows.
_MOST_CHANNELS = 65_536
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
    downsample_type: str = "conv"
    upsample_type: str = "conv"
    dropout: float = 0.0
    act_fn: str = "silu"
    attention_head_dim: int | None = 8
    norm_num_groups: int = 32
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
        return {"_class_name": "UNet2DModel", **dataclasses.asdict(self)}

    @property
    def time_channels(self) -> int:
        """Width of the time embedding that the blocks receive."""
        return self.time_embedding_dim or 4 * self.block_out_channels[0]

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

    def _check(self) -> None:
        for name, value in _FIXED.items():
            if getattr(self, name) != value:
                raise ConfigError(
                    f"'{name}': {getattr(self, name)!r:.100} is not supported; only {value!r} is."
                )
        levels = len(self.block_out_channels)
        if not 1 <= levels <= 16:
            raise ConfigError(f"A model has 1 to 16 levels, not {levels} block_out_channels.")
        for name in ("down_block_types", "up_block_types"):
            if len(getattr(self, name)) != levels:
                raise ConfigError(
                    f"'{name}' has {len(getattr(self, name))} entries, but "
                    f"'block_out_channels' has {levels}."
                )
        counts = {
            name: getattr(self, name)
            for name in (
                "in_channels",
                "out_channels",
                "time_embedding_dim",
                "norm_num_groups",
                "attention_head_dim",
            )
        }
        counts |= {f"block_out_channels[{i}]": c for i, c in enumerate(self.block_out_channels)}
        for name, value in counts.items():
            if value is not None and not 1 <= value <= _MOST_CHANNELS:
                raise ConfigError(f"'{name}' must be 1 to {_MOST_CHANNELS}, not {value}.")
        if not 1 <= self.layers_per_block <= 64:
            raise ConfigError(f"'layers_per_block' must be 1 to 64, not {self.layers_per_block}.")
        for name in ("norm_eps", "mid_block_scale_factor"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"'{name}' must be above 0, not {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"'dropout' must be from 0 to below 1, not {self.dropout}.")
        if self.freq_shift >= self.block_out_channels[0] // 2:
            raise ConfigError(
                f"'freq_shift' ({self.freq_shift}) must be below half of the first entry of "
                f"'block_out_channels', {self.block_out_channels[0] // 2}."
            )
        if self.downsample_padding not in (0, 1):
            raise ConfigError(
                f"'downsample_padding' must be 0 or 1, not {self.downsample_padding}."
            )
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ConfigError(
                    f"'norm_num_groups' ({self.norm_num_groups}) must divide every entry of "
                    f"'block_out_channels', but {channels} is one."
                )
        if self.sample_size is not None:
            if min(self.size) < 1:
                raise ConfigError(f"'sample_size' must be at least 1, not {self.sample_size}.")
            self.check_size(*self.size)
        self._check_heads()

    def _check_heads(self) -> None:
        if self.attention_head_dim is None:
            return
        kinds = zip(self.block_out_channels, self.down_block_types, strict=True)
        with_attention = {channels for channels, kind in kinds if "Attn" in kind}
        kinds = zip(reversed(self.block_out_channels), self.up_block_types, strict=True)
        with_attention |= {channels for channels, kind in kinds if "Attn" in kind}
        if self.add_attention:
            with_attention.add(self.block_out_channels[-1])
        for channels in sorted(with_attention):
            if channels % self.attention_head_dim:
                raise ConfigError(
                    f"'attention_head_dim' ({self.attention_head_dim}) must divide the "
                    f"{channels} channels of each level with attention."
                )


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
