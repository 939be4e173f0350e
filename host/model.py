"""Our network as a ComfyUI MODEL, which the host loads, moves and casts like its own models."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from ..networks.batch_parts import equal_parts, joined
from ..networks.errors import CheckpointError, ConfigError
from ..networks.placement import bytes_to_make, has_fast_kernels, place_weights
from ..networks.prepared import PreparedWeights
from ..networks.windows import predict_in_windows
from ..schedulers.process import Process
from .canvas import Canvas
from .memory import EvaluationMemory, free_memory, sampler_bytes, strips
from .model_sampling import make_model_sampling, model_type, network_times, process_to_draw
from .network import Request, host_class, is_patched
from .window_progress import WindowProgress


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
        host_config.set_inference_dtype(checkpoint.dtype, _cast_to(checkpoint.dtype, load_device))

        prepared = PreparedWeights(free_memory=functools.partial(free_memory, torch.device("cpu")))

        # The host calls this as the class of the network.
        def build(*, operations: Any, **_: Any) -> Any:
            network = checkpoint.build(host_class(checkpoint.network), operations)
            # Frees each weight as soon as it has been copied.
            checkpoint.weights.clear()
            return place_weights(network, load_device, prepared, is_patched)

        super().__init__(host_config, model_type(scheduler_config), unet_model=cast(Any, build))
        self._prepared_weights = prepared
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

    @property
    def memory(self) -> EvaluationMemory:
        """What its evaluations take."""
        return EvaluationMemory(self.network, self.compute_dtype)

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
            at_once = self.memory.fastest(batch * len(cover), channels, cover, device)
        layers = at_once * self.memory.of_one(channels, cover)
        own = batch * sampler_bytes(channels, height, width)
        return layers + own + bytes_to_make(self.network)

    @property
    def _canvas(self) -> Canvas:
        """The canvas of the run that is being prepared or is in progress."""
        if self._prepared is not None or self.current_patcher is None:
            return self._prepared or Canvas()
        return Canvas.of(self.current_patcher.model_options["transformer_options"])

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
        self._prepared_weights.enabled = patcher is None or not (
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
        size = self.memory.at_once(x_t, cover)
        predict = functools.partial(
            self.diffusion_model,
            context=c_crossattn,
            control=control,
            transformer_options=options,
        )
        with self.network.edges.joined(**cover.joined):
            if len(cover) == 1:
                parts = equal_parts(len(x_t), size)
                inputs = request.inputs(x_t, self.unet_config, parts)
                outputs = [
                    predict(x_t[part], times[part], **more)
                    for part, more in zip(parts, inputs, strict=True)
                ]
                output = joined(outputs, len(x_t))
            else:
                (inputs,) = request.inputs(x_t, self.unet_config, [slice(None)])
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


def _cast_to(dtype: torch.dtype, device: torch.device) -> torch.dtype | None:
    """Return the precision in which weights of ``dtype`` compute; None: in their own."""
    # The host casts half precision to float32 on every CPU.
    if device.type == "cpu" and has_fast_kernels(dtype):
        return None
    return comfy.model_management.unet_manual_cast(dtype, device)


def default_dtype(own: torch.dtype) -> torch.dtype:
    """Return the precision for weights that a file has in ``own``, if the user names none.

    On a CPU that would cast half precision for each call, this is float32.
    """
    device = comfy.model_management.get_torch_device()
    return torch.float32 if device.type == "cpu" and _cast_to(own, device) else own


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
    with cast(UnconditionalModel, model.model).prepared_for(canvas):
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
