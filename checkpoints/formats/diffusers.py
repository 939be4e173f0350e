"""diffusers' own names: the current ones and those of attention layers before 0.15."""

import re
from collections.abc import Iterable
from typing import Any

from ...networks.errors import ConfigError
from ...unet.config import DIFFUSERS_CLASS, OWN_CLASS, UNetConfig
from .conversion import Converted, Weights, choose, count, rename, shape_of

CLASS_NAMES = (DIFFUSERS_CLASS, OWN_CLASS)

# google/ddpm-* has these.
_LEGACY_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_LEGACY = re.compile(rf"(attentions\.\d+)\.({'|'.join(_LEGACY_NAMES)})\.")

# The order in which diffusers registers modules, after the input layers.
_ORDER = ("", "down_blocks", "up_blocks", "mid_block", "conv_norm_out", "conv_out")

# Options of google/ddpm-* that do not show in shapes; assumed for files with the names of 2022.
_GOOGLE = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
_LIBRARY = {
    "attention_head_dim": 8,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "norm_eps": 1e-5,
}
# Image sizes of google/ddpm-cifar10-32 and google/ddpm-*-256 by their widths.
_GOOGLE_SIZES = {(128, 256, 256, 256): 32, (128, 128, 256, 256, 512, 512): 256}


def matches(names: Iterable[str]) -> bool:
    """Whether the tensors are those of a diffusers ``UNet2DModel``."""
    names = set(names)
    parts = {name.partition(".")[0] for name in names}
    # An autoencoder's encoder has everything but the time embedding.
    return "conv_in.weight" in names and {"down_blocks", "time_embedding"} <= parts


def convert(weights: Weights, given: dict[str, Any]) -> Converted:
    """Modernise the names; infer the configuration unless ``given`` is a whole one.

    Raises:
        ConfigError: the configuration is wrong, or cannot be inferred.
        CheckpointError: a tensor is missing.
    """
    modern = rename(weights, _modern)
    if "_class_name" in given or "block_out_channels" in given:
        fields = {name: value for name, value in given.items() if name != "scheduler"}
        return Converted(UNetConfig.from_dict(fields), modern)
    given = {name: value for name, value in given.items() if name != "scheduler"}
    assumed = dict(_GOOGLE if modern.keys() != weights.keys() else _LIBRARY)
    assumed["norm_num_groups"] = 32
    inferred = _infer(modern)
    if assumed["norm_eps"] == _GOOGLE["norm_eps"]:
        assumed["sample_size"] = _GOOGLE_SIZES.get(inferred["block_out_channels"])
    config, left = choose(given, inferred, assumed)
    return Converted(config, modern, assumed=left)


def in_order(weights: Weights) -> Weights:
    """Return tensors with current names in the order of diffusers' ``parameters()``."""

    def rank(name: str) -> tuple[int, int, int]:
        outer, *rest = name.split(".")
        way = _ORDER.index(outer) if outer in _ORDER else 0
        block = int(rest.pop(0)) if outer in ("down_blocks", "up_blocks") else 0
        return way, block, {"attentions": -1, "skip_norm": 1}.get(rest[0], 0)

    return {name: weights[name] for name in sorted(weights, key=rank)}


def _modern(name: str) -> str:
    return _LEGACY.sub(lambda match: f"{match[1]}.{_LEGACY_NAMES[match[2]]}.", name)


def _infer(weights: Weights) -> dict[str, Any]:
    """Return the fields that can be inferred from names and shapes."""
    special = ("skip_conv.", "resnet_down.", "skip_norm.", "class_embedding.", "time_proj.")
    found = next((name for name in weights if any(part in name for part in special)), None)
    if found is not None or "mid_block.resnets.0.conv1.weight" not in weights:
        raise ConfigError(
            f"The configuration cannot be inferred from the tensors (they include "
            f"{found or 'no mid_block'}). Write the model's whole config.json"
        )
    levels = count(weights, "down_blocks.")
    widths = tuple(
        shape_of(weights, f"down_blocks.{i}.resnets.0.conv1.weight", 4)[0] for i in range(levels)
    )
    time = shape_of(weights, "down_blocks.0.resnets.0.time_emb_proj.weight", 2)
    inferred: dict[str, Any] = {
        "in_channels": shape_of(weights, "conv_in.weight", 4)[1],
        "out_channels": shape_of(weights, "conv_out.weight", 4)[0],
        "block_out_channels": widths,
        "layers_per_block": count(weights, "down_blocks.0.resnets."),
        "time_embedding_dim": shape_of(weights, "time_embedding.linear_1.weight", 2)[0],
        "add_attention": any(name.startswith("mid_block.attentions.") for name in weights),
        "down_block_types": tuple(_kind(weights, "down", i) for i in range(levels)),
        "up_block_types": tuple(_kind(weights, "up", i) for i in range(levels)),
        "resnet_time_scale_shift": "scale_shift" if time[0] == 2 * widths[0] else "default",
    }
    for way in ("down", "up"):
        if any(f".{way}samplers.0.conv1.weight" in name for name in weights):
            inferred[f"{way}sample_type"] = "resnet"
    if inferred["resnet_time_scale_shift"] == "scale_shift":
        # With scale_shift, the mid block's attention has a norm only if it is configured.
        has_norm = "mid_block.attentions.0.group_norm.weight" in weights
        inferred["attn_norm_num_groups"] = 32 if has_norm else None
    return inferred


def _kind(weights: Weights, way: str, level: int) -> str:
    prefix, resnet = f"{way}_blocks.{level}.", f"{way}samplers.0.conv1.weight"
    if f"{prefix}attentions.0.to_q.weight" in weights:
        return f"Attn{way.title()}Block2D"
    if prefix + resnet in weights:
        return f"Resnet{way.title()}sampleBlock2D"
    return f"{way.title()}Block2D"
