"""OpenAI's networks: improved-diffusion (Nichol & Dhariwal 2021), guided-diffusion (2021).

Levels, widths, attention, scale_shift, resampling inside residual blocks and a learned variance
are inferred from the tensors. The rest is assumed as in the published models; a JSON file next to
the weights overrides it (fields of a config.json, and those in brackets):

==================  ==============================  =====================================
                    improved-diffusion              guided-diffusion
==================  ==============================  =====================================
recognised by       resampling by convolutions      resampling inside residual blocks
image size          by the levels' widths           by the levels' widths
heads [num_heads]   4; 1 for the 256 px ones        64 channels each [attention_head_dim]
order of q, k, v    per head                        per head; at 64 px q, k, v separate
                                                    [use_new_attention_order]
schedule            up to 64 px cosine, 4000;       at 64 px cosine, else linear, 1000
[scheduler]         else linear, 1000
timesteps           rescaled to 0 to 1000           not rescaled
[rescale_timesteps]
==================  ==============================  =====================================

Rescaled timesteps become a table ("learned" time embedding) with one row for each step: diffusers'
networks cannot rescale, and the table has exactly the embeddings that the network was trained with.

The consistency and EDM models of Song et al. 2023 (openai/consistency_models) are guided-diffusion
networks without a learned variance. The published ones are recognised and rejected. Others cannot
be distinguished from DDPM's, so a network without a learned variance loads with a warning.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...unet.config import conditioned
from ...unet.embeddings import sinusoidal_embedding
from ...unet.errors import CheckpointError, ConfigError, shown
from .conversion import Converted, Weights, as_linear, choose, count, multipliers, shape_of

_SIZES = {
    (1, 2, 2, 2): 32,
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (1, 2, 2, 4, 4, 8, 8): 512,
}

_GUIDED_HEAD_WIDTH = 64
_IMPROVED_HEADS = 4
_LARGE = 128
_RESCALED_STEPS = 1000

# openai/consistency_models: (widths, layers, scale and shift, classes) of what it publishes, and
# the names of the files.
_CONSISTENCY = {
    ((192, 384, 576, 768), 3, True, 1000),
    ((256, 256, 512, 512, 1024, 1024), 2, False, None),
}
_CONSISTENCY_NAME = re.compile(r"(?<![a-z])(cd|ct|edm)_(imagenet|bedroom|cat)\d+", re.IGNORECASE)

_EXTRAS = ("scheduler", "num_heads", "use_new_attention_order", "rescale_timesteps")

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


@dataclass(frozen=True)
class _Topology:
    """What the tensors' names and shapes show."""

    widths: tuple[int, ...]
    layers: int
    attention: tuple[bool, ...]
    resampling_resnets: bool

    @property
    def levels(self) -> int:
        return len(self.widths)


def matches(names: Iterable[str]) -> bool:
    """Whether the tensors have the names of OpenAI's UNets; classifiers have no output blocks."""
    names = set(names)
    return {"time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight"} <= names and any(
        name.startswith("output_blocks.0.") for name in names
    )


def convert(weights: Weights, given: dict[str, Any]) -> Converted:
    """Rename the layers, separate q, k and v, and infer the configuration from the shapes.

    Raises:
        ConfigError: the network cannot be expressed as a ``UNet2DModel``, or its size or heads are
            unknown.
        CheckpointError: a tensor is missing.
    """
    topology = _topology(weights)
    inferred = _infer(weights, topology)
    size = given.get("sample_size", _SIZES.get(multipliers(topology.widths)))
    pixels = size if isinstance(size, int) else None
    guided = topology.resampling_resnets
    learned = inferred["out_channels"] == 2 * inferred["in_channels"]
    warnings: tuple[str, ...] = ()
    if guided and not learned and "scheduler" not in given:
        _check_consistency(topology, inferred, str(given.get("_file_name", "")))
        warnings = (
            "The file does not specify the network's diffusion process; DDPM's is assumed. "
            "OpenAI's consistency and EDM models have the same tensors: if this is one of them, "
            "the images will be noise.",
        )
    scheduler = {**_scheduler(pixels, guided, learned), **given.get("scheduler", {})}

    assumed: dict[str, Any] = {
        "sample_size": size,
        "attention_head_dim": _head_width(topology, given, pixels),
        "use_new_attention_order": guided and pixels == 64,
        "rescale_timesteps": not guided,
    }
    extras = {name: given.get(name, assumed.get(name)) for name in _EXTRAS}
    for name in ("use_new_attention_order", "rescale_timesteps"):
        if not isinstance(extras[name], bool):
            raise ConfigError(
                f"'{name}' must be true or false, not {extras[name]!r:.50}. Write true or false"
            )
    fields = {name: value for name, value in given.items() if name not in _EXTRAS}
    usual = {name: value for name, value in assumed.items() if name not in _EXTRAS}

    # Unexpected tensors keep their names, so the final check reports them.
    converted = dict(weights)
    for old, new in _prefixes(weights, topology).items():
        _convert_layer(converted, old, new)
    steps = scheduler["num_train_timesteps"]
    if extras["rescale_timesteps"] and steps != _RESCALED_STEPS:
        if type(steps) is not int or not 1 <= steps <= 100_000:
            raise ConfigError(
                f"'num_train_timesteps' must be 1 to 100000, not {steps!r:.50}. Write another value"
            )
        inferred |= {"time_embedding_type": "learned", "num_train_timesteps": steps}
        converted["time_proj.weight"] = _time_table(
            steps, topology.widths[0], weights["time_embed.0.weight"].dtype
        )
    config, left = choose(fields, inferred, usual)
    converted = _separate_qkv(
        converted, config.attention_head_dim, extras["use_new_attention_order"] is True
    )
    left |= {name: assumed[name] for name in _EXTRAS if name in assumed and name not in given}
    config = replace(config, warnings=config.warnings + warnings)
    return Converted(config, converted, scheduler, left)


def _check_consistency(topology: _Topology, inferred: dict[str, Any], file_name: str) -> None:
    """Raise ``ConfigError`` for a model of openai/consistency_models."""
    scale_shift = inferred["resnet_time_scale_shift"] == "scale_shift"
    classes = inferred.get("num_class_embeds")
    published = (topology.widths, topology.layers, scale_shift, classes) in _CONSISTENCY
    if published or _CONSISTENCY_NAME.search(file_name):
        raise ConfigError(
            f"Judging by its {'tensors' if published else 'name'}, this is a consistency or EDM "
            "model of openai/consistency_models. These use another process than DDPM's, which is "
            "not supported yet. If it was trained as DDPM, write its schedule, for example "
            '{"scheduler": {"num_train_timesteps": 1000, "beta_schedule": "linear"}},'
        )


def _topology(weights: Weights) -> _Topology:
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
    return _Topology(
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


def _infer(weights: Weights, topology: _Topology) -> dict[str, Any]:
    in_channels = shape_of(weights, "input_blocks.0.0.weight", 4)[1]
    out_channels = shape_of(weights, "out.2.weight", 4)[0]
    # OpenAI's super-resolution models with a learned variance also have 6 outputs.
    if in_channels == 6:
        raise CheckpointError(conditioned(in_channels, out_channels))
    first = topology.widths[0]
    time = shape_of(weights, "input_blocks.1.0.emb_layers.1.weight", 2)
    down = "ResnetDownsampleBlock2D" if topology.resampling_resnets else "DownBlock2D"
    up = "ResnetUpsampleBlock2D" if topology.resampling_resnets else "UpBlock2D"
    resampler = "resnet" if topology.resampling_resnets else "conv"
    scale_shift = time[0] == 2 * first
    inferred: dict[str, Any] = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "block_out_channels": topology.widths,
        "layers_per_block": topology.layers,
        "time_embedding_dim": shape_of(weights, "time_embed.0.weight", 2)[0],
        "down_block_types": tuple("AttnDownBlock2D" if a else down for a in topology.attention),
        "up_block_types": tuple("AttnUpBlock2D" if a else up for a in topology.attention[::-1]),
        "downsample_type": resampler,
        "upsample_type": resampler,
        "resnet_time_scale_shift": "scale_shift" if scale_shift else "default",
        # With scale_shift, diffusers' mid block has no attention norm unless this is set.
        "attn_norm_num_groups": 32 if scale_shift else None,
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "norm_eps": 1e-5,
        "norm_num_groups": 32,
    }
    if shape_of(weights, "time_embed.0.weight", 2)[1] != first:
        raise ConfigError(
            "The network's first level is not as wide as its input convolution. A UNet2DModel "
            "cannot express that, so it cannot be loaded."
        )
    if "label_emb.weight" in weights:
        inferred["num_class_embeds"] = shape_of(weights, "label_emb.weight", 2)[0]
    return inferred


def _head_width(topology: _Topology, given: dict[str, Any], pixels: int | None) -> int | None:
    """Return the channels of each head, from the JSON or as in the published models."""
    heads = given.get("num_heads")
    if heads is None:
        if topology.resampling_resnets or "attention_head_dim" in given:
            return _GUIDED_HEAD_WIDTH
        heads = 1 if pixels is not None and pixels >= _LARGE else _IMPROVED_HEADS
    pairs = zip(topology.widths, topology.attention, strict=True)
    widths = {width for width, attention in pairs if attention} | {topology.widths[-1]}
    if type(heads) is not int or heads < 1 or any(width % heads for width in widths):
        raise ConfigError(
            f"'num_heads' ({heads!r:.50}) must divide the {_listed(widths)} channels of each level "
            "with attention. Write the right number of heads"
        )
    if heads == 1:
        return None
    if len(widths) > 1:
        raise ConfigError(
            f"With {heads} attention heads on levels of {_listed(widths)} channels, the heads have "
            "different widths. A UNet2DModel has one width for all, so the model cannot be loaded. "
            'If its heads do have one width, write {"attention_head_dim": 64}, with the right '
            "number,"
        )
    return widths.pop() // heads


def _scheduler(pixels: int | None, guided: bool, learned: bool) -> dict[str, Any]:
    cosine = pixels is not None and (pixels == 64 if guided else pixels <= 64)
    return {
        "num_train_timesteps": 1000 if guided or not cosine else 4000,
        "beta_schedule": "squaredcos_cap_v2" if cosine else "linear",
        "variance_type": "learned_range" if learned else "fixed_large",
    }


def _prefixes(weights: Weights, topology: _Topology) -> dict[str, str]:
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


def _separate_qkv(weights: Weights, head_width: int | None, new_order: bool) -> Weights:
    """Split each qkv: (q, k, v) head by head or, with ``new_order``, all q, all k, all v."""
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
        width = head_width or channels
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


def _time_table(steps: int, channels: int, dtype: torch.dtype) -> Tensor:
    """Return the embedding of each step, rescaled to 0..1000, as in training."""
    times = torch.arange(steps).float() * (_RESCALED_STEPS / steps)
    return sinusoidal_embedding(times, channels, flip_sin_to_cos=True, freq_shift=0).to(dtype)


def _listed(widths: Iterable[int]) -> str:
    return " and ".join(str(width) for width in sorted(widths))
