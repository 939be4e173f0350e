"""The configuration of a LucidrainsUNet."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, get_type_hints

from ..networks.base import NetworkConfig
from ..networks.errors import CheckpointError, ConfigError, shown
from ..networks.fields import read_fields

CLASS_NAME = "LucidrainsUNet"

_MAX_CHANNELS = 65_536


@dataclass(frozen=True)
class LucidrainsConfig(NetworkConfig):
    """The options of ``Unet`` in denoising-diffusion-pytorch, and the changes between versions.

    ``attn_heads``, ``attn_dim_head`` and ``full_attn`` have one entry for each level. Names and
    defaults are the package's own (2.x), if it has them.
    """

    self_condition: bool = False
    dim: int = 64
    """Width of the sinusoids of the time; the time embedding has four times as many channels."""
    init_dim: int = 64
    """Width of the first and the last layers."""
    block_out_channels: tuple[int, ...] = (64, 128, 256, 512)
    """The package's ``dim_mults``, times ``dim``."""
    full_attn: tuple[bool, ...] = (False, False, False, True)
    """Whether a level has full attention, otherwise linear attention."""
    attn_heads: tuple[int, ...] = (4, 4, 4, 4)
    attn_dim_head: tuple[int, ...] = (32, 32, 32, 32)
    num_mem_kv: int = 4
    """Learned keys and values in each attention; 0 before 1.9."""
    sinusoidal_pos_emb_theta: float = 10000
    resnet_block_groups: int | None = None
    """Groups of the blocks' group norm before 2.0; None is RMSNorm."""
    attention_norm: str = "rms"
    """"rms", or "layer" before 1.7."""
    averages_values: bool = False
    """Whether linear attention divides the values by the number of pixels, as before 1.7.4."""
    strided_downsampling: bool = False
    """Whether downsampling is a strided convolution, as before 0.32, not a pixel unshuffle."""

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "LucidrainsConfig":
        """Parse the contents of a ``config.json``.

        A null field takes its default, unless null is a valid value. An unknown field is ignored
        with a warning.

        Raises:
            ConfigError: a field has the wrong type or an invalid value. The message names it.
        """
        if fields.get("_class_name", CLASS_NAME) != CLASS_NAME:
            raise ConfigError(
                "The weights come from lucidrains/denoising-diffusion-pytorch, but their "
                f"config.json is for a '{shown(str(fields['_class_name']))}'. Use weights and a "
                "configuration from the same model."
            )
        types_by_name = get_type_hints(cls)
        del types_by_name["warnings"]
        values, warnings = read_fields(fields, types_by_name)
        config = cls(**values, warnings=warnings)
        config._check()
        if config.self_condition:
            config = dataclasses.replace(config, warnings=(*warnings, _SELF_CONDITIONED))
        return config

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["warnings"]
        return {"_class_name": CLASS_NAME, "not_for_diffusers": self.not_for_diffusers, **values}

    @property
    def widths(self) -> tuple[int, ...]:
        return self.block_out_channels

    @property
    def is_self_conditioned(self) -> bool:
        return self.self_condition

    @property
    def not_for_diffusers(self) -> str:
        return "diffusers has no class for the network of lucidrains/denoising-diffusion-pytorch."

    def check_unconditional(self) -> None:
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise CheckpointError(
                f"The network has {self.in_channels} in_channels and {self.out_channels} "
                "out_channels, so it cannot be loaded. An unconditional model has as many outputs "
                "as inputs, or twice as many with a learned variance."
            )

    def _check(self) -> None:
        levels = len(self.block_out_channels)
        if not 1 <= levels <= 16:
            raise ConfigError(f"'block_out_channels' must have 1 to 16 entries, not {levels}.")
        for name in ("full_attn", "attn_heads", "attn_dim_head"):
            if len(getattr(self, name)) != levels:
                raise ConfigError(
                    f"'{name}' has {len(getattr(self, name))} entries, but 'block_out_channels' "
                    f"has {levels}."
                )
        counts = {name: getattr(self, name) for name in ("in_channels", "out_channels", "init_dim")}
        for name in ("block_out_channels", "attn_heads", "attn_dim_head"):
            counts |= {f"{name}[{i}]": number for i, number in enumerate(getattr(self, name))}
        if self.resnet_block_groups is not None:
            counts["resnet_block_groups"] = self.resnet_block_groups
        for name, value in counts.items():
            if not 1 <= value <= _MAX_CHANNELS:
                raise ConfigError(f"'{name}' must be 1 to {_MAX_CHANNELS}, not {value}.")
        if not 4 <= self.dim <= _MAX_CHANNELS or self.dim % 2:
            raise ConfigError(f"'dim' must be an even number of at least 4, not {self.dim}.")
        if not 0 <= self.num_mem_kv <= _MAX_CHANNELS:
            raise ConfigError(f"'num_mem_kv' must be 0 to {_MAX_CHANNELS}, not {self.num_mem_kv}.")
        if not 1 < self.sinusoidal_pos_emb_theta < math.inf:
            raise ConfigError(
                f"'sinusoidal_pos_emb_theta' must be above 1, not {self.sinusoidal_pos_emb_theta}."
            )
        if self.attention_norm not in ("rms", "layer"):
            raise ConfigError(
                "'attention_norm' must be 'rms' or 'layer', not "
                f"{shown(repr(self.attention_norm))}."
            )
        groups = self.resnet_block_groups
        for width in (self.init_dim, *self.block_out_channels):
            if groups is not None and width % groups:
                raise ConfigError(
                    f"'resnet_block_groups' ({groups}) must divide the widths of all levels, but "
                    f"one has {width} channels."
                )
        if self.sample_size is not None:
            if min(self.size) < 1:
                raise ConfigError(f"'sample_size' must be at least 1, not {self.sample_size}.")
            self.check_size(*self.size)


_SELF_CONDITIONED = (
    "This network is self-conditioned: it also takes its last predicted image. The samplers of "
    "this pack pass it. ComfyUI's own samplers (KSampler) pass zeros, as in half of the "
    "network's training; their images may be slightly worse."
)
