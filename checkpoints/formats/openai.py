"""OpenAI's networks: improved-diffusion (Nichol & Dhariwal 2021), guided-diffusion (2021).

Levels, widths, attention, scale_shift, resampling inside residual blocks and a learned variance
are inferred from the tensors. The rest is assumed as in the published models; a JSON file next to
the weights overrides it (fields of a config.json, and those in brackets):

==================  ==============================  =====================================
                    improved-diffusion              guided-diffusion
==================  ==============================  =====================================
recognised by       resampling by convolutions      resampling inside residual blocks
image size          by the levels' widths           by the levels' widths
heads [num_heads,   4; 1 from 128 px on             64 channels each; 4 for two models of
num_head_channels]                                  ``_FOUR_HEADS``
order of q, k, v    per head                        per head; at 64 px and in consistency
                                                    models q, k, v separate
                                                    [use_new_attention_order]
schedule            up to 64 px cosine, 4000;       at 64 px cosine, else linear, 1000;
[scheduler]         else linear, 1000               for consistency models theirs
timesteps           rescaled to 0 to 1000, except   not rescaled
[rescale_timesteps] in class-conditional ImageNet-64
==================  ==============================  =====================================

Rescaled timesteps become a table ("learned" time embedding) with one row for each step: diffusers'
networks cannot rescale, and the table has exactly the embeddings that the network was trained with.

The consistency and EDM models of Song et al. 2023 (openai/consistency_models) are guided-diffusion
networks without a learned variance. Only their files' names tell them apart. The published networks
under another name are rejected, with a remedy. Others cannot be distinguished from DDPM's, so a
network without a learned variance loads with a warning.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ...networks.errors import CheckpointError, ConfigError
from ...unet.config import conditioned
from .conversion import Converted, Weights, choose, shape_of
from .openai_tensors import (
    RESCALED_STEPS,
    Topology,
    renamed,
    separate_qkv,
    time_table,
    topology,
)

# Image sizes by the widths of the levels, relative to the width of a timestep's sinusoids.
_SIZES = {
    (1, 2, 2, 2): 32,
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (0.5, 1, 1, 2, 2, 4, 4): 512,
}

_GUIDED_HEAD_WIDTH = 64
# Networks of guided-diffusion with four heads on each level, by the width of a timestep's sinusoids
# and the image size: OpenAI's 128x128_diffusion, and portrait_generator (512 px).
_FOUR_HEADS = {(256, 128), (128, 512)}
# The same of improved-diffusion's class-conditional ImageNet-64.
_NOT_RESCALED = (192, 64)
_LARGE = 128

# openai/consistency_models: what it publishes (widths, layers, scale and shift, classes), and its
# files' names.
_CONSISTENCY = {
    ((192, 384, 576, 768), 3, True, 1000),
    ((256, 256, 512, 512, 1024, 1024), 2, False, None),
}
_CONSISTENCY_NAME = re.compile(r"(?<![a-z])(cd|ct|edm)_(imagenet|bedroom|cat)\d+", re.IGNORECASE)
# Noise levels by image size of models trained without a teacher (ct); the distilled ones have 40.
_TRAINED_ALONE = {64: 201, 256: 151}
_CONSISTENCY_SCHEDULER = {
    "_class_name": "CMStochasticIterativeScheduler",
    "num_train_timesteps": 40,
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "sigma_data": 0.5,
    "rho": 7.0,
}

_IF_DDPM = (
    "If it was trained as DDPM, write its schedule, for example "
    '{"scheduler": {"num_train_timesteps": 1000, "beta_schedule": "linear"}},'
)

# OpenAI's code writes -1 for a number of heads, or of their channels, that is not used.
_UNSET = (None, -1)
_EXTRAS = (
    *("scheduler", "num_heads", "num_head_channels"),
    *("use_new_attention_order", "rescale_timesteps"),
)


def matches(names: Iterable[str]) -> bool:
    """Whether the tensors have the names of OpenAI's UNets; classifiers have no output blocks."""
    names = set(names)
    return {"time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight"} <= names and any(
        name.startswith("output_blocks.0.") for name in names
    )


def convert(weights: Weights, given: dict[str, Any]) -> Converted:
    """Rename the layers, separate q, k and v, and infer the configuration from the shapes.

    Raises:
        ConfigError: the network cannot be expressed as a ``UNet2D``, its size or heads are unknown,
            or its process is not known for certain.
        CheckpointError: a tensor is missing.
    """
    shape = topology(weights)
    inferred = _infer(weights, shape)
    size = given.get("sample_size", _SIZES.get(shape.multipliers))
    pixels = size if isinstance(size, int) else None
    guided = shape.resampling_resnets
    learned = inferred["out_channels"] == 2 * inferred["in_channels"]
    consistency = _consistency(shape, inferred, given, pixels)
    scheduler = {
        **(consistency or _scheduler(pixels, guided, learned)),
        **given.get("scheduler", {}),
    }
    assumed: dict[str, Any] = {
        "sample_size": size,
        "use_new_attention_order": guided and (pixels == 64 or consistency is not None),
        "rescale_timesteps": not guided and (shape.base, pixels) != _NOT_RESCALED,
    }
    heads_given = any(given.get(name) not in _UNSET for name in ("num_heads", "num_head_channels"))
    heads = inferred if heads_given else assumed
    heads["attention_head_dim"] = _head_width(shape, given, pixels)
    extras = {name: given.get(name, assumed.get(name)) for name in _EXTRAS}
    for name in ("use_new_attention_order", "rescale_timesteps"):
        if not isinstance(extras[name], bool):
            raise ConfigError(
                f"'{name}' must be true or false, not {extras[name]!r:.50}. Write true or false"
            )
    fields = {name: value for name, value in given.items() if name not in _EXTRAS}
    usual = {name: value for name, value in assumed.items() if name not in _EXTRAS}

    converted = renamed(weights, shape)
    steps = scheduler["num_train_timesteps"]
    if extras["rescale_timesteps"] and steps != RESCALED_STEPS:
        if type(steps) is not int or not 1 <= steps <= 100_000:
            raise ConfigError(
                f"'num_train_timesteps' must be 1 to 100000, not {steps!r:.50}. Write another value"
            )
        inferred |= {"time_embedding_type": "learned", "num_train_timesteps": steps}
        dtype = weights["time_embed.0.weight"].dtype
        converted["time_proj.weight"] = time_table(steps, shape.base, dtype)
    config, left = choose(fields, inferred, usual)
    new_order = extras["use_new_attention_order"] is True
    converted = separate_qkv(converted, config, new_order=new_order)
    left |= {name: assumed[name] for name in _EXTRAS if name in assumed and name not in given}
    if guided and not learned and consistency is None and "scheduler" not in given:
        config = replace(
            config,
            warnings=(
                *config.warnings,
                "The file does not specify the network's diffusion process; DDPM's is assumed. "
                "OpenAI's consistency and EDM models have the same tensors: if this is one of "
                "them, the images will be noise.",
            ),
        )
    return Converted(config, converted, scheduler, left)


def _consistency(
    shape: Topology, inferred: dict[str, Any], given: dict[str, Any], pixels: int | None
) -> dict[str, Any] | None:
    """Return the schedule of a consistency model (Song et al. 2023); None for a DDPM model.

    A class or another process's options in the JSON file decide, otherwise the name of the file.

    Raises:
        ConfigError: it is an EDM model, or it is one of openai/consistency_models and the name does
            not say which.
    """
    options = given.get("scheduler", {})
    if "_class_name" in options or not options.keys() <= _CONSISTENCY_SCHEDULER.keys():
        same = options.get("_class_name") == _CONSISTENCY_SCHEDULER["_class_name"]
        return _CONSISTENCY_SCHEDULER if same else None
    if not shape.resampling_resnets or inferred["out_channels"] != inferred["in_channels"]:
        return None
    named = _CONSISTENCY_NAME.search(str(given.get("_file_name", "")))
    kind = named[1].lower() if named else None
    if kind == "edm":
        raise ConfigError(
            "Judging by its name, this is an EDM model of openai/consistency_models, a teacher "
            "of its consistency models. EDM (Karras et al. 2022) is a process other than DDPM's "
            f"and is not supported yet. {_IF_DDPM}"
        )
    if kind is not None:
        levels = _TRAINED_ALONE.get(pixels or 0, 40) if kind == "ct" else 40
        return {**_CONSISTENCY_SCHEDULER, "num_train_timesteps": levels}
    scale_shift = inferred["resnet_time_scale_shift"] == "scale_shift"
    classes = inferred.get("num_class_embeds")
    if (shape.widths, shape.layers, scale_shift, classes) in _CONSISTENCY:
        raise ConfigError(
            "Judging by its tensors, this is a consistency model or an EDM model of "
            "openai/consistency_models. Both have the same tensors, and with the wrong process the "
            "images would be noise. EDM models are not supported yet. If it is a consistency "
            "model, give the file its published name, for example cd_imagenet64_l2.pt, or write "
            '{"scheduler": {"_class_name": "CMStochasticIterativeScheduler"}}. '
            f"{_IF_DDPM}"
        )
    return None


def _infer(weights: Weights, shape: Topology) -> dict[str, Any]:
    in_channels = shape_of(weights, "input_blocks.0.0.weight", 4)[1]
    out_channels = shape_of(weights, "out.2.weight", 4)[0]
    # OpenAI's super-resolution models with a learned variance also have 6 outputs.
    if in_channels == 6:
        raise CheckpointError(conditioned(in_channels, out_channels))
    first = shape.widths[0]
    time = shape_of(weights, "input_blocks.1.0.emb_layers.1.weight", 2)
    down = "ResnetDownsampleBlock2D" if shape.resampling_resnets else "DownBlock2D"
    up = "ResnetUpsampleBlock2D" if shape.resampling_resnets else "UpBlock2D"
    resampler = "resnet" if shape.resampling_resnets else "conv"
    scale_shift = time[0] == 2 * first
    inferred: dict[str, Any] = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "block_out_channels": shape.widths,
        "layers_per_block": shape.layers,
        "time_embedding_dim": shape_of(weights, "time_embed.0.weight", 2)[0],
        "down_block_types": tuple("AttnDownBlock2D" if a else down for a in shape.attention),
        "up_block_types": tuple("AttnUpBlock2D" if a else up for a in shape.attention[::-1]),
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
    if shape_of(weights, "input_blocks.0.0.weight", 4)[0] != first:
        raise ConfigError(
            "The network's first level is not as wide as its input convolution. A UNet2D cannot "
            "express that, so it cannot be loaded."
        )
    if shape.base != first:
        inferred["time_projection_dim"] = shape.base
    if "label_emb.weight" in weights:
        inferred["num_class_embeds"] = shape_of(weights, "label_emb.weight", 2)[0]
    return inferred


def _head_width(
    shape: Topology, given: dict[str, Any], pixels: int | None
) -> int | tuple[int, ...] | None:
    """Return the channels of each head, from the JSON or as in the published models.

    OpenAI's code ignores ``num_heads`` if there are ``num_head_channels``.
    """
    if "attention_head_dim" in given:
        return given["attention_head_dim"]
    if given.get("num_head_channels") not in _UNSET:
        return given["num_head_channels"]
    heads = given.get("num_heads")
    if heads in _UNSET:
        if shape.resampling_resnets and (shape.base, pixels) not in _FOUR_HEADS:
            return _GUIDED_HEAD_WIDTH
        one = not shape.resampling_resnets and pixels is not None and pixels >= _LARGE
        heads = 1 if one else 4
    widths = shape.attention_widths
    if type(heads) is not int or heads < 1 or any(width % heads for width in widths):
        listed = " and ".join(map(str, widths))
        raise ConfigError(
            f"'num_heads' ({heads!r:.50}) must divide the {listed} channels of each level with "
            "attention. Write the right number of heads"
        )
    if heads == 1:
        return None
    if len(widths) == 1:
        return widths[0] // heads
    # Levels without attention need no heads, so theirs need not divide the width.
    return tuple(max(width // heads, 1) for width in shape.widths)


def _scheduler(pixels: int | None, guided: bool, learned: bool) -> dict[str, Any]:
    cosine = pixels is not None and (pixels == 64 if guided else pixels <= 64)
    return {
        "num_train_timesteps": 1000 if guided or not cosine else 4000,
        "beta_schedule": "squaredcos_cap_v2" if cosine else "linear",
        "variance_type": "learned_range" if learned else "fixed_large",
    }
