"""Our network as a ComfyUI MODEL, which the host loads, moves and casts like its own models."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.supported_models_base
import torch
from comfy.cli_args import args
from torch import Tensor

from ..checkpoints.digest import FileDigest
from ..checkpoints.origin import Origin
from ..checkpoints.reading import Checkpoint
from ..networks.base import Network, NetworkConfig
from ..networks.batch_parts import even_part, fastest_part
from ..networks.convolution import Filters, bytes_to_make
from ..networks.edges import Directions
from ..networks.errors import CheckpointError, ConfigError
from ..networks.placement import place_weights
from ..networks.windows import Cover, Windows, predict_in_windows
from ..schedulers.config import SchedulerConfig
from ..schedulers.consistency_model import ConsistencyConfig
from ..schedulers.process import Process
from .canvas import Canvas
from .model_sampling import (
    KINDS,
    carried_process,
    check_schedule,
    make_model_sampling,
    model_type,
    network_times,
    process_to_draw,
)
from .network import Request, host_class
from .window_progress import WindowProgress

_WINDOW_BYTES = 2**30
"""The maximum memory of the windows that are evaluated at once."""
_KEPT = 12
"""The memory for a gradient through all layers, relative to the peak without one: 10 to 12 for
networks of 16 to 256 pixels."""
_STRIP = 256
"""Rows of a large image that are computed at once."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model came from: its name in the loader, its weights file, and what was assumed."""

    name: str
    digest: FileDigest
    origin: Origin = field(default_factory=Origin)

    @property
    def sha256(self) -> str | None:
        """The sha256 of the weights' file; None if the file changed before it was computed."""
        return self.digest.sha256


class PixelFormat(comfy.latent_formats.LatentFormat):
    """Pixels are the latents: C channels in -1..1, the same size as the image."""

    spacial_downscale_ratio = 1

    def __init__(self, channels: int):
        self.latent_channels = channels
        # C x 3: a single channel is grey; otherwise the first three are red, green and blue.
        self.latent_rgb_factors = (
            [[1.0, 1.0, 1.0]]
            if channels == 1
            else [[float(c == rgb) for rgb in range(3)] for c in range(channels)]
        )


class _HostConfig(comfy.supported_models_base.BASE):
    """The host's model configuration, with support for ``copy.deepcopy``.

    The host's class returns None for each missing attribute, and ``copy`` would call that.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class UnconditionalModel(comfy.model_base.BaseModel):
    """A host model with its configurations and its source.

    The weights are moved out of the checkpoint, which is empty afterwards.
    """

    def __init__(self, checkpoint: Checkpoint, scheduler_config: Process, source: ModelSource):
        load_device = comfy.model_management.get_torch_device()
        # FreeU reads the first width before our network can report that FreeU is not supported.
        host_config = _HostConfig({"model_channels": checkpoint.config.widths[0]})
        host_config.latent_format = PixelFormat(checkpoint.config.in_channels)
        host_config.set_inference_dtype(
            checkpoint.dtype,
            comfy.model_management.unet_manual_cast(checkpoint.dtype, load_device),
        )

        filters = Filters(free_memory=functools.partial(_free_memory, torch.device("cpu")))

        # The host calls this as the class of the network.
        def build(*, operations: Any, **_: Any) -> Any:
            network = checkpoint.build(host_class(checkpoint.network), operations)
            # Frees each weight as soon as it has been copied.
            checkpoint.weights.clear()
            return place_weights(network, load_device, filters)

        super().__init__(host_config, model_type(scheduler_config), unet_model=cast(Any, build))
        self._filters = filters
        self._prepared: Canvas | None = None
        self.model_sampling = make_model_sampling(scheduler_config)
        self.scheduler_config = scheduler_config
        self.unet_config = checkpoint.config
        self.source = source

    @property
    def network(self) -> Network:
        """The network, as the host calls it."""
        return cast(Network, self.diffusion_model)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The precision that the network computes in."""
        return self.manual_cast_dtype or self.get_dtype()

    @contextmanager
    def prepared_for(self, canvas: Canvas) -> Iterator[None]:
        """Estimate the memory for this canvas while the context lasts."""
        self._prepared = canvas
        try:
            yield
        finally:
            self._prepared = None

    def memory_required(
        self, input_shape: Sequence[int], cond_shapes: dict[str, Any] | None = None
    ) -> float:
        """Return how many bytes an evaluation of (B, C, H, W) needs in addition to the weights.

        The host frees that much before sampling.
        """
        batch, channels, height, width = input_shape
        cover = self._canvas.cover(height, width)
        at_once = batch
        if len(cover) > 1:
            device = comfy.model_management.get_torch_device()
            at_once = self._fastest(batch * len(cover), channels, cover, device)
        layers = at_once * self._bytes_of_one(channels, cover)
        return (
            layers + batch * _sampler_bytes(channels, height, width) + bytes_to_make(self.network)
        )

    @property
    def _canvas(self) -> Canvas:
        """The canvas of the run that is being prepared or is in progress."""
        if self._prepared is not None or self.current_patcher is None:
            return self._prepared or Canvas()
        return Canvas.of(self.current_patcher.model_options["transformer_options"])

    def _bytes_of_one(self, channels: int, cover: Cover) -> float:
        """Return the memory that an image takes in the network, or one of its windows."""
        layers = self.network.activation_bytes((1, channels, *cover.size), self.compute_dtype)
        # The copies padded with the opposite side; then the kernels' workspaces.
        padded = 1.7 if any(cover.joined.values()) else 1
        return 1.25 * padded * layers

    def _fastest(self, count: int, channels: int, cover: Cover, device: torch.device) -> int:
        """Return how many of ``count`` images or windows to evaluate at once if memory is free."""
        layers = self.network.activation_bytes((1, channels, *cover.size), self.compute_dtype)
        fastest = fastest_part(count, layers, device)
        if len(cover) == 1:
            return fastest
        return even_part(
            count, min(fastest, int(_WINDOW_BYTES / self._bytes_of_one(channels, cover)))
        )

    def images_with_gradients(self, x: Tensor) -> int:
        """Return for how many images at once the free memory suffices to compute a gradient.

        Args:
            x: images, shape (B, C, H, W).
        """
        _, channels, height, width = x.shape
        shape = (1, channels, height, width)
        layers = self.network.activation_bytes(shape, self.compute_dtype)
        free = _free_memory(x.device)
        return even_part(len(x), max(1, int(free / (_KEPT * layers))))

    def _apply_model(
        self,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **_: Any,
    ) -> Tensor:
        """Predict the image; called by the host.

        Args:
            x: images with noise of the level ``t``, x0 + t eps, shape (B, C, H, W).
            t: sigma, shape (B,); for DDPM sqrt((1 - alphas_cumprod) / alphas_cumprod).
            c_concat, c_crossattn: the conditioning, which this network does not have.
            control: of a ControlNet; rejected.
            transformer_options: patches by other nodes, and our own ``Request``.
        """
        # A hook of another node writes into the weights, and back afterwards.
        patcher = self.current_patcher
        self._filters.enabled = patcher is None or not (
            patcher.hook_backup or patcher.weight_inplace_update
        )
        options = transformer_options or {}
        nearest = network_times(self.model_sampling, t)
        request = options.get(Request.KEY) or Request(nearest)
        x_t = self.model_sampling.calculate_input(t, x).to(self.compute_dtype)
        config = process_to_draw(self.model_sampling, self.scheduler_config)
        times = request.time_at(t, nearest) * config.timestep_scale
        cover = Canvas.of(options).cover(*x_t.shape[2:])
        if (
            any(cover.joined.values())
            and patcher is not None
            and "bypass_lora" in patcher.injections
        ):
            raise ConfigError(
                "A LoRA in bypass mode sees zeros beyond the edges, so the image would not "
                "tile. Use 'Load LoRA' instead of the bypass loader, or remove Seamless Tiling."
            )
        size = self._at_once(x_t, cover)
        predict = functools.partial(
            self.diffusion_model,
            context=c_crossattn,
            control=control,
            transformer_options=options,
        )
        with self.network.edges.joined(**cover.joined):
            if len(cover) == 1:
                inputs = request.inputs(x_t, self.unet_config, size)
                parts = zip(x_t.split(size), times.split(size), inputs, strict=True)
                outputs = [predict(x_part, t_part, **more) for x_part, t_part, more in parts]
                output = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
            else:
                (inputs,) = request.inputs(x_t, self.unet_config, len(x_t))
                progress = WindowProgress(options, t, len(x_t) * len(cover))
                output = predict_in_windows(predict, cover, x_t, times, inputs, size, progress)
        channels = x.shape[1]
        if output.shape[1] > channels:
            request.keep_variance(output[:, channels:], options.get("cond_or_uncond") or [0])
        del x_t
        return self._denoised(t, output[:, :channels], x)

    def _denoised(self, t: Tensor, output: Tensor, x: Tensor) -> Tensor:
        """Return the image that the output predicts, in the precision of x.

        It is computed in strips, because each intermediate copy of a large image counts.
        """
        denoised = torch.empty_like(x)
        for rows in strips(x):
            strip = output[:, :, rows].to(x.dtype)
            denoised[:, :, rows] = self.model_sampling.calculate_denoised(t, strip, x[:, :, rows])
        return denoised

    def sampled_at_once(self, shape: Sequence[int]) -> int:
        """Return how many images (B, C, H, W) of a batch a sampler can hold, 1 .. B."""
        free = _free_memory(comfy.model_management.get_torch_device())
        # The other half is for the network.
        return even_part(shape[0], int(0.5 * free / _sampler_bytes(*shape[1:])))

    def _at_once(self, x_t: Tensor, cover: Cover) -> int:
        """Return how many images or windows to evaluate, considering the host's free memory."""
        batch, channels, height, width = x_t.shape
        for_one = self._bytes_of_one(channels, cover)
        if len(cover) == 1:
            for_one += _sampler_bytes(channels, height, width)
        free = _free_memory(x_t.device)
        count = batch * len(cover)
        fastest = self._fastest(count, channels, cover, x_t.device)
        return even_part(count, min(fastest, int(free / for_one)))


def strips(x: Tensor) -> Iterator[slice]:
    """Yield the rows of images (B, C, H, W) that are computed at once."""
    return (slice(top, top + _STRIP) for top in range(0, x.shape[2], _STRIP))


def _sampler_bytes(channels: int, height: int, width: int) -> int:
    """Return the memory of one image for a sampler's own x, x0, noise and history."""
    return 16 * torch.float64.itemsize * channels * height * width


def _free_memory(device: torch.device) -> float:
    return cast(float, comfy.model_management.get_free_memory(device))


def forced_dtype() -> torch.dtype | None:
    """Return the precision set on the host's command line (--fp16-unet, for example), or None."""
    for name in ("float32", "float64", "bfloat16", "float16"):
        option = name.replace("bfloat", "bf").replace("float", "fp") + "_unet"
        if getattr(args, option, False):
            return getattr(torch, name)
    return torch.float32 if getattr(args, "force_fp32", False) else None


def make_model(
    checkpoint: Checkpoint,
    scheduler_config: Process,
    source: ModelSource,
    reread: Callable[[], Checkpoint],
    *,
    disable_dynamic: bool = False,
) -> comfy.model_patcher.ModelPatcher:
    """Wrap a checkpoint as a MODEL. Nothing is loaded onto a device yet.

    Args:
        checkpoint: its weights are moved out of it.
        scheduler_config: of the MODEL.
        source: where it came from.
        reread: reads the checkpoint again, for a second MODEL with its own weights. The host
            creates one for another GPU, for LoRA training, and to compile a dynamic MODEL.
        disable_dynamic: never use the host's dynamic VRAM.
    """
    if disable_dynamic:
        patcher = comfy.model_patcher.ModelPatcher
    else:
        patcher = comfy.model_patcher.CoreModelPatcher
    model = patcher(
        UnconditionalModel(checkpoint, scheduler_config, source),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    wrapper = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING
    model.add_wrapper_with_key(wrapper, Canvas.KEY, _prepare_sampling)
    model.cached_patcher_init = (
        _load_again,
        (checkpoint.config, scheduler_config, source, reread),
    )
    return model


def _prepare_sampling(
    prepare: Callable[..., Any], model: comfy.model_patcher.ModelPatcher, *args: Any, **kwargs: Any
) -> Any:
    """Let the host estimate the memory for this MODEL's canvas; the host passes only the shape."""
    canvas = Canvas.of(model.model_options["transformer_options"])
    with unconditional_model(model).prepared_for(canvas):
        return prepare(model, *args, **kwargs)


def _load_again(
    config: NetworkConfig,
    scheduler_config: Process,
    source: ModelSource,
    reread: Callable[[], Checkpoint],
    *,
    disable_dynamic: bool = False,
) -> comfy.model_patcher.ModelPatcher:
    """Create the same MODEL again from its files; the host's ``cached_patcher_init``.

    Raises:
        CheckpointError: the files now contain another model.
    """
    checkpoint = reread()
    model = make_model(
        checkpoint, scheduler_config, source, reread, disable_dynamic=disable_dynamic
    )
    # Computed after the weights were copied; None if the file changed after it was opened.
    unchanged = checkpoint.sha256 is not None and checkpoint.sha256 == source.sha256
    if checkpoint.config != config or not unchanged:
        raise CheckpointError(
            f"The files of {source.name} have changed since it was loaded, so this node cannot "
            "create a second copy of the MODEL. Press Run again to load the changed model."
        )
    return model


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
