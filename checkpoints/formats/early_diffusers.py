"""diffusers before 0.2 (summer 2022): the same network under other names."""

from collections.abc import Iterable
from typing import Any

from ...networks.errors import CheckpointError, ConfigError, shown
from . import diffusers
from .conversion import Converted, Weights

CLASS_NAMES = ("UNetModel", "UNetUnconditionalModel")

_FIELDS = {
    "image_size": "sample_size",
    "resolution": "sample_size",
    "num_res_blocks": "layers_per_block",
    "block_channels": "block_out_channels",
    "down_blocks": "down_block_types",
    "up_blocks": "up_block_types",
    "downscale_freq_shift": "freq_shift",
    "resnet_num_groups": "norm_num_groups",
    "resnet_act_fn": "act_fn",
    "resnet_eps": "norm_eps",
    "num_head_channels": "attention_head_dim",
    "out_ch": "out_channels",
}
# Settings of the class that did not affect the network, or that current fields cover too.
_WITHOUT_EFFECT = {
    *("attention_resolutions", "attn_resolutions", "ch", "ch_mult", "ddpm", "ldm"),
    *("conv_resample", "resamp_with_conv"),
}
_BLOCKS = {
    "downsample_blocks.": "down_blocks.",
    "upsample_blocks.": "up_blocks.",
    "mid.": "mid_block.",
    "mid_new_2.": "mid_block.",
    "time_steps.": "time_proj.",
}
_OLD_DEFAULT_HEAD = 32


def modern_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a ``config.json`` of an early class with current names; any other one unchanged.

    Raises:
        ConfigError: a setting does not exist in the current class.
    """
    if fields.get("_class_name") not in CLASS_NAMES:
        return fields
    if fields.get("conv_resample") is False or fields.get("resamp_with_conv") is False:
        raise ConfigError("The network resamples without convolutions, unlike any UNet2DModel.")
    if fields.get("ldm"):
        raise ConfigError("The network belongs to a latent diffusion model, not a pixel-space one.")
    if "ch_mult" in fields and not fields.get("block_channels"):
        # The weights have the names of Ho et al.; the rest is inferred from their shapes.
        size = fields.get("resolution") or fields.get("image_size")
        return {} if size is None else {"sample_size": size}
    modern: dict[str, Any] = {"attention_head_dim": _OLD_DEFAULT_HEAD}
    for name, value in fields.items():
        target = _FIELDS.get(name, name)
        # If a file has both names, the current one takes precedence.
        if name in _WITHOUT_EFFECT or (value is None and name in ("out_ch", "resolution")):
            continue
        if target == name or target not in fields:
            modern[target] = value
    return {**modern, "_class_name": "UNet2DModel"}


def matches(names: Iterable[str]) -> bool:
    """Whether the blocks have the names from before 0.2."""
    names = set(names)
    return "conv_in.weight" in names and any(n.startswith("downsample_blocks.") for n in names)


def convert(weights: Weights, given: dict[str, Any]) -> Converted:
    """Rename the blocks; see ``diffusers.convert`` for the rest.

    Raises:
        CheckpointError: two tensors that must be equal differ.
    """
    renamed: Weights = {}
    for name, tensor in weights.items():
        start = next((old for old in _BLOCKS if name.startswith(old)), "")
        new = _BLOCKS.get(start, "") + name.removeprefix(start)
        # A downsampling layer was registered twice, as `conv` and as `op`.
        new = new.replace("downsamplers.0.op.", "downsamplers.0.conv.")
        if new in renamed and not renamed[new].equal(tensor):
            raise CheckpointError(
                f"Two tensors for {shown(new)} differ. The file is damaged; download it again."
            )
        renamed[new] = tensor
    return diffusers.convert(renamed, given)
