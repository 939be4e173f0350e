"""A MODEL of this pack in the hands of a node: what it is, and copies with other settings."""

from dataclasses import replace
from typing import Any

import comfy.model_patcher
from torch import Tensor

from ..networks.edges import Directions
from ..networks.errors import ConfigError
from ..networks.windows import Windows
from ..schedulers.config import SchedulerConfig
from ..schedulers.consistency_model import ConsistencyConfig
from ..schedulers.process import Process
from .canvas import Canvas
from .model import UnconditionalModel
from .model_sampling import KINDS, carried_process, check_schedule, make_model_sampling


def unconditional_model(model: comfy.model_patcher.ModelPatcher) -> UnconditionalModel:
    """Return the host model inside a MODEL of this pack.

    Raises:
        ValueError: the MODEL is of another kind.
    """
    inner = model.model
    if not isinstance(inner, UnconditionalModel):
        raise ValueError(
            f"This node needs a MODEL from 'Load Unconditional UNet', but a "
            f"{type(inner).__name__} is connected. Connect 'Load Unconditional UNet', or use "
            "KSampler with this model."
        )
    return inner


def own_process(patcher: comfy.model_patcher.ModelPatcher) -> Process:
    """Return the process of a MODEL of this pack.

    Raises:
        ValueError: the MODEL is of another kind, or another node has replaced its schedule with
            one of the host's.
    """
    unconditional_model(patcher)
    sampling = patcher.get_model_object("model_sampling")
    config = carried_process(sampling)
    if config is None:
        raise ValueError(
            f"Another node has set this MODEL's noise schedule to {type(sampling).__name__}, which "
            "only ComfyUI's own samplers can use. Use 'Noise Schedule' instead of that node, or "
            "SamplerCustomAdvanced with 'PNDM Sampler Select'."
        )
    return config


def own_schedule(patcher: comfy.model_patcher.ModelPatcher) -> SchedulerConfig:
    """Return the scheduler options of a MODEL of this pack with DDPM's process.

    Raises:
        ValueError: see ``own_process``, or the MODEL has another process.
    """
    return check_schedule(own_process(patcher))


def own_consistency(patcher: comfy.model_patcher.ModelPatcher) -> ConsistencyConfig:
    """Return the options of a consistency model of this pack.

    Raises:
        ValueError: see ``own_process``, or the MODEL is not a consistency model.
    """
    process = own_process(patcher)
    if isinstance(process, ConsistencyConfig):
        return process
    ours = ", 'PNDM Sampler', 'DDIM Sampler' or 'DDPM Sampler'"
    raise ValueError(
        "Consistency Sampler needs a consistency model (diffusers' CMStochasticIterativeScheduler)"
        f", but this MODEL is {KINDS[type(process)]}. Use KSampler"
        f"{ours if isinstance(process, SchedulerConfig) else ''} with it."
    )


def with_schedule(
    patcher: comfy.model_patcher.ModelPatcher, config: SchedulerConfig
) -> comfy.model_patcher.ModelPatcher:
    """Return a MODEL of this pack with other scheduler options; the given one is not changed."""
    changed = patcher.clone()
    changed.add_object_patch("model_sampling", make_model_sampling(config))
    return changed


def with_canvas(
    patcher: comfy.model_patcher.ModelPatcher, **changes: Any
) -> comfy.model_patcher.ModelPatcher:
    """Return a MODEL of this pack with another ``Canvas``; the given one is not changed.

    Raises:
        ValueError: the MODEL is of another kind.
    """
    unconditional_model(patcher)
    changed = patcher.clone()
    options = changed.model_options["transformer_options"]
    options[Canvas.KEY] = replace(Canvas.of(options), **changes)
    return changed


def with_windows(
    patcher: comfy.model_patcher.ModelPatcher, window: int, overlap: float, wrap: Directions
) -> comfy.model_patcher.ModelPatcher:
    """Return a MODEL of this pack that covers an image with windows.

    Args:
        patcher: is not changed.
        window: one side in pixels; 0 is the model's own size.
        overlap: the part of a window that it shares with the next.
        wrap: where windows continue over the image's edges.

    Raises:
        ValueError: the MODEL is of another kind.
        ConfigError: the network cannot halve this size at each level, or its own size is unknown.
    """
    config = unconditional_model(patcher).unet_config
    if window % config.size_multiple:
        raise ConfigError(
            f"window must be divisible by {config.size_multiple} for this model, not {window}. "
            "0 is the model's own size."
        )
    height, width = (window, window) if window else config.size
    return with_canvas(patcher, windows=Windows(height, width, overlap, wrap))


def check_size(patcher: comfy.model_patcher.ModelPatcher, height: int, width: int) -> None:
    """Raise ``ConfigError`` unless a MODEL of this pack can draw images of this size."""
    canvas = Canvas.of(patcher.model_options["transformer_options"])
    unconditional_model(patcher).unet_config.check_size(*canvas.cover(height, width).size)


def weights_as_loaded(patcher: comfy.model_patcher.ModelPatcher) -> dict[str, Tensor]:
    """Return the network's tensors as loaded from its file, wherever the host has moved them.

    The host keeps the original of each patched weight; the originals are returned.
    """
    prefix = "diffusion_model."
    return {
        key.removeprefix(prefix): entries[0][0]
        for key, entries in patcher.get_key_patches(prefix).items()
    }
