"""The network of Ho et al. 2020 as pesser/pytorch_diffusion, ermongroup/ddim and
luping-liu/PNDM save it.

Everything is inferred from the tensors except the image size, which is that of the published model
with the same levels. Attention has one head; the schedule is Ho et al.'s (section 4).
"""  # noqa: D205

import re
from collections.abc import Iterable
from typing import Any

from ...networks.errors import ConfigError
from .conversion import Converted, Weights, as_linear, choose, count, multipliers, rename, shape_of

# Image size by the levels' widths relative to the first: CIFAR-10, CelebA, and LSUN and CelebA-HQ.
# All have attention at 16 x 16.
_SIZES = {
    (1, 2, 2, 2): 32,
    (1, 2, 2, 2, 4): 64,
    (1, 1, 2, 2, 4, 4): 256,
}
_ATTENTION_SIZE = 16

_CONVENTIONS = {
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 32,
}

_BLOCK = {
    "temb_proj": "time_emb_proj",
    "nin_shortcut": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_OUTER = {
    "temb.dense.0": "time_embedding.linear_1",
    "temb.dense.1": "time_embedding.linear_2",
    "norm_out": "conv_norm_out",
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1": "mid_block.attentions.0",
}
_LEVEL = re.compile(r"(down|up)\.(\d+)\.(block|attn)\.(\d+)\.")
_RESAMPLER = re.compile(r"(down|up)\.(\d+)\.(?:down|up)sample\.")


def matches(names: Iterable[str]) -> bool:
    """Whether the tensors have the names of Ho et al.'s network in torch."""
    return {"temb.dense.0.weight", "down.0.block.0.norm1.weight"} <= set(names)


def convert(weights: Weights, given: dict[str, Any]) -> Converted:
    """Rename the layers and infer the configuration from the shapes.

    Raises:
        ConfigError: the image size is unknown.
        CheckpointError: a tensor is missing.
    """
    levels = count(weights, "down.")
    widths = tuple(shape_of(weights, f"down.{i}.block.0.conv1.weight", 4)[0] for i in range(levels))
    attention = [f"down.{i}.attn.0.q.weight" in weights for i in range(levels)]
    if any(f"down.{i}.downsample.conv.weight" not in weights for i in range(levels - 1)):
        raise ConfigError("The network resamples without convolutions, unlike any UNet2DModel.")
    inferred = {
        "in_channels": shape_of(weights, "conv_in.weight", 4)[1],
        "out_channels": shape_of(weights, "conv_out.weight", 4)[0],
        "block_out_channels": widths,
        "layers_per_block": count(weights, "down.0.block."),
        "time_embedding_dim": shape_of(weights, "temb.dense.0.weight", 2)[0],
        "add_attention": "mid.attn_1.q.weight" in weights,
        "down_block_types": tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention),
        "up_block_types": tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attention[::-1]),
    }
    size = _SIZES.get(multipliers(widths))
    # Attention at another level means another image size.
    if size is not None and [size >> i == _ATTENTION_SIZE for i in range(levels)] != attention:
        size = None
    given = {name: value for name, value in given.items() if name != "scheduler"}
    config, left = choose(given, inferred, {**_CONVENTIONS, "sample_size": size})
    scheduler = {
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "variance_type": "fixed_large" if config.size == (32, 32) else "fixed_small",
    }
    converted = rename(weights, lambda name: _renamed(name, levels))
    converted = {
        name: as_linear(tensor) if ".attentions." in name and tensor.ndim == 4 else tensor
        for name, tensor in converted.items()
    }
    return Converted(config, converted, scheduler, left)


def _renamed(name: str, levels: int) -> str:
    """Return the name in diffusers; a name from outside the format is kept and reported later."""

    def level(way: str, number: str) -> str:
        # Levels are numbered from the top both ways; diffusers numbers them in running order.
        return f"{way}_blocks.{number if way == 'down' else levels - 1 - int(number)}"

    def block(match: re.Match[str]) -> str:
        kind = "resnets" if match[3] == "block" else "attentions"
        return f"{level(match[1], match[2])}.{kind}.{match[4]}."

    name = _LEVEL.sub(block, name)
    name = _RESAMPLER.sub(lambda m: f"{level(m[1], m[2])}.{m[1]}samplers.0.", name)
    for old, new in _OUTER.items():
        if name.startswith(f"{old}."):
            name = new + name.removeprefix(old)
    parts = name.split(".")
    table = _ATTENTION if "attentions" in parts else _BLOCK
    if len(parts) > 2:
        parts[-2] = table.get(parts[-2], parts[-2])
    return ".".join(parts)
