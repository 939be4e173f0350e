"""What the tensors of OpenAI's networks show, and how they become those of a UNet2D."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ...networks.errors import CheckpointError, ConfigError, shown
from ...unet.config import UNetConfig
from ...unet.embeddings import sinusoidal_embedding
from .conversion import Weights, as_linear, count, shape_of

RESCALED_STEPS = 1000
"""Rescaled timesteps belong to a process with this many steps."""

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_OUTER = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_LEVEL = re.compile(r"(down|up)_blocks\.(\d{1,2})\.")


@dataclass(frozen=True)
class Topology:
    """What the tensors' names and shapes show. Levels are counted from the highest."""

    base: int
    """The ``model_channels`` of OpenAI's code: the width of a timestep's sinusoids."""
    widths: tuple[int, ...]
    layers: int
    attention: tuple[bool, ...]
    resampling_resnets: bool

    @property
    def levels(self) -> int:
        return len(self.widths)

    @property
    def multipliers(self) -> tuple[float, ...]:
        """The ``channel_mult`` of OpenAI's code."""
        return tuple(width / self.base for width in self.widths)

    @property
    def attention_widths(self) -> tuple[int, ...]:
        """The different widths that have attention, ascending; the middle always has it."""
        pairs = zip(self.widths, self.attention, strict=True)
        return tuple(sorted({w for w, attention in pairs if attention} | {self.widths[-1]}))


def topology(weights: Weights) -> Topology:
    """Find the levels: on the way up, each but the last ends with an upsampling layer."""
    outputs, inputs = count(weights, "output_blocks."), count(weights, "input_blocks.")
    ends = [k for k in range(outputs) if _upsampler(weights, k) is not None]
    levels = len(ends) + 1
    per_level, rest = divmod(outputs, levels)
    if rest or ends != [per_level * (i + 1) - 1 for i in range(levels - 1)] or per_level < 2:
        raise ConfigError(
            "The network's levels have different numbers of residual blocks, or it resamples "
            "without convolutions. A UNet2DModel cannot express that, so it cannot be loaded."
        )
    if inputs != outputs:
        raise CheckpointError(
            f"The checkpoint has {inputs} input_blocks but {outputs} output_blocks. It is "
            "incomplete, or the network resamples without convolutions."
        )
    firsts = [1 + level * per_level for level in range(levels)]
    return Topology(
        shape_of(weights, "time_embed.0.weight", 2)[1],
        tuple(shape_of(weights, f"input_blocks.{k}.0.in_layers.2.weight", 4)[0] for k in firsts),
        per_level - 1,
        tuple(f"input_blocks.{k}.1.qkv.weight" in weights for k in firsts),
        levels > 1 and f"input_blocks.{per_level}.0.op.weight" not in weights,
    )


def _upsampler(weights: Weights, k: int) -> str | None:
    """Return the prefix of the upsampling layer in an output block, or None."""
    for part in (1, 2):
        prefix = f"output_blocks.{k}.{part}"
        if f"{prefix}.conv.weight" in weights or f"{prefix}.in_layers.0.weight" in weights:
            return prefix
    return None


def renamed(weights: Weights, topology: Topology) -> Weights:
    """Return the tensors under a UNet2D's names, but with q, k and v together.

    Unexpected ones keep their names, so that the final check reports them.
    """
    converted = dict(weights)
    for old, new in _prefixes(weights, topology).items():
        _convert_layer(converted, old, new)
    return converted


def _prefixes(weights: Weights, topology: Topology) -> dict[str, str]:
    """Return the new prefix of each residual block, attention and resampling layer."""
    found = dict(_OUTER)
    per_level = topology.layers + 1
    for k in range(topology.levels * per_level - 1):
        level, j = divmod(k, per_level)
        block, old = f"down_blocks.{level}", f"input_blocks.{k + 1}"
        if j < topology.layers:
            found |= {f"{old}.0": f"{block}.resnets.{j}", f"{old}.1": f"{block}.attentions.{j}"}
        else:
            found |= {
                f"{old}.0": f"{block}.downsamplers.0",
                f"{old}.0.op": f"{block}.downsamplers.0.conv",
            }
    for i in (0, 1):
        found[f"middle_block.{2 * i}"] = f"mid_block.resnets.{i}"
    found["middle_block.1"] = "mid_block.attentions.0"
    for k in range(topology.levels * per_level):
        level, j = divmod(k, per_level)
        block, old = f"up_blocks.{level}", f"output_blocks.{k}"
        found |= {f"{old}.0": f"{block}.resnets.{j}", f"{old}.1": f"{block}.attentions.{j}"}
        upsampler = _upsampler(weights, k)
        if upsampler is not None:
            found |= {
                upsampler: f"{block}.upsamplers.0",
                f"{upsampler}.conv": f"{block}.upsamplers.0.conv",
            }
    return found


def _convert_layer(weights: Weights, old: str, new: str) -> None:
    """Rename the tensors of one layer, in place."""
    layers = {"": "", ".norm": ".group_norm", ".qkv": ".qkv", ".proj_out": ".to_out.0"}
    layers |= {f".{name}": f".{target}" for name, target in _RESNET.items()}
    for name, target in layers.items():
        for kind in ("weight", "bias"):
            tensor = weights.pop(f"{old}{name}.{kind}", None)
            if tensor is not None:
                linear = name in (".qkv", ".proj_out") and tensor.ndim > 1
                weights[f"{new}{target}.{kind}"] = as_linear(tensor) if linear else tensor


def separate_qkv(weights: Weights, config: UNetConfig, *, new_order: bool) -> Weights:
    """Split each qkv: (q, k, v) head by head or, with ``new_order``, all q, all k, all v.

    Raises:
        ConfigError: the heads do not divide the channels.
        CheckpointError: a tensor does not have three parts.
    """
    separated: Weights = {}
    for name, tensor in weights.items():
        if ".qkv." not in name:
            separated[name] = tensor
            continue
        channels, rest = divmod(tensor.shape[0] if tensor.ndim else 0, 3)
        if rest or not channels:
            raise CheckpointError(
                f"The tensor {shown(name)} has the shape {tuple(tensor.shape)}. Its first "
                "dimension must be a multiple of 3."
            )
        width = config.head_dim(_level(name, len(config.block_out_channels))) or channels
        if channels % width:
            raise ConfigError(
                f"Heads of {width} channels do not divide the {channels} channels of a level with "
                "attention. Write another attention_head_dim"
            )
        if new_order:
            parts = tensor.unflatten(0, (3, channels)).unbind(0)
        else:
            by_head = tensor.unflatten(0, (channels // width, 3, width))
            parts = [part.flatten(0, 1) for part in by_head.unbind(1)]
        for letter, part in zip("qkv", parts, strict=True):
            separated[name.replace(".qkv.", f".to_{letter}.")] = part.contiguous()
    return separated


def _level(name: str, levels: int) -> int:
    """Return the level of a tensor under its new name; the lowest one for any other name."""
    found = _LEVEL.match(name)
    if found is None or int(found[2]) >= levels:
        return levels - 1
    # Up blocks are numbered from the lowest level.
    return int(found[2]) if found[1] == "down" else levels - 1 - int(found[2])


def time_table(steps: int, channels: int, dtype: torch.dtype) -> Tensor:
    """Return the embedding of each step, rescaled to 0..1000, as in training."""
    times = torch.arange(steps).float() * (RESCALED_STEPS / steps)
    return sinusoidal_embedding(times, channels, flip_sin_to_cos=True, freq_shift=0).to(dtype)
