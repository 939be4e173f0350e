"""Our network as ComfyUI's MODEL: placed, moved and cast by the host like its own models."""

from dataclasses import dataclass
from typing import Any, cast

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.supported_models_base
from comfy.model_base import ModelType
from torch import Tensor

from ..schedulers.config import SchedulerConfig
from ..schedulers.noise_schedule import NoiseSchedule
from ..unet.checkpoint import Checkpoint
from ..unet.digest import FileDigest
from ..unet.errors import ConfigError
from ..unet.unet2d import UNet2D

# How the host turns the network's output into an image, and the name it knows that by.
_PREDICTIONS: dict[str, tuple[type, ModelType]] = {
    "epsilon": (comfy.model_sampling.EPS, ModelType.EPS),
    "v_prediction": (comfy.model_sampling.V_PREDICTION, ModelType.V_PREDICTION),
    "sample": (comfy.model_sampling.X0, ModelType.EPS),
}


@dataclass(frozen=True)
class ModelSource:
    """Where a model came from: its name in the loader, and its weights' file."""

    name: str
    digest: FileDigest

    @property
    def sha256(self) -> str:
        """That of the weights' file, which is read for it when it is first asked for."""
        return self.digest.sha256


class PixelFormat(comfy.latent_formats.LatentFormat):
    """Pixels are the latents: C channels in -1..1, the same size as the image."""

    spacial_downscale_ratio = 1

    def __init__(self, channels: int):
        self.latent_channels = channels
        # C x 3: one channel is grey; of several the first three are red, green and blue.
        self.latent_rgb_factors = (
            [[1.0, 1.0, 1.0]]
            if channels == 1
            else [[float(c == rgb) for rgb in range(3)] for c in range(channels)]
        )


class HostUNet(UNet2D):
    """The network under the signature with which the host calls its own."""

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        timesteps: Tensor | float,
        context: Tensor | None = None,
        *,
        class_labels: Tensor | int | None = None,
        learned_variance: bool = False,
        **_: Any,
    ) -> Tensor:
        """Predict; the second half of a 2C-channel output only where ``learned_variance``.

        Raises:
            ConfigError: the caller gives no class to a model that needs one, or a timestep to one
                that needs a sigma; the host's own samplers do.
        """
        if self.config.is_variance_exploding:
            raise ConfigError(
                "This model is variance-exploding (NCSN++): it was trained on sigmas, and no "
                "sampler here can pass them."
            )
        if self.config.has_classes and class_labels is None:
            raise ConfigError(
                "This model was trained with classes, and this sampler cannot name one. Use PNDM "
                "Sampler, DDIM Sampler or DDPM Sampler, and set class_label there."
            )
        output = super().forward(x, timesteps, class_labels)
        return output if learned_variance else output[:, : x.shape[1]]


class UnconditionalModel(comfy.model_base.BaseModel):
    """A host model that also carries its configurations and its source."""

    def __init__(
        self, checkpoint: Checkpoint, scheduler_config: SchedulerConfig, source: ModelSource
    ):
        load_device = comfy.model_management.get_torch_device()
        host_config = comfy.supported_models_base.BASE({})
        host_config.latent_format = PixelFormat(checkpoint.config.in_channels)
        host_config.set_inference_dtype(
            checkpoint.dtype,
            comfy.model_management.unet_manual_cast(checkpoint.dtype, load_device),
        )

        # The host calls this as the class of the network.
        def build(*, operations: Any, **_: Any) -> Any:
            return checkpoint.build(HostUNet, operations)

        mixin, model_type = _PREDICTIONS[scheduler_config.prediction_type]
        super().__init__(host_config, model_type, unet_model=cast(Any, build))
        self.model_sampling = _model_sampling(mixin, scheduler_config)
        self.unet_config = checkpoint.config
        self.scheduler_config = scheduler_config
        self.source = source


def _model_sampling(mixin: type, config: SchedulerConfig) -> Any:
    """The model's exact betas, for the host's own samplers."""
    sampling = type("ModelSampling", (comfy.model_sampling.ModelSamplingDiscrete, mixin), {})()
    # The host's zsnr keeps the last sigma finite, which ours, for its samplers, does not.
    betas = NoiseSchedule.from_config(config, rescale_zero_snr=False).betas
    sampling._register_schedule(given_betas=betas, zsnr=config.rescale_betas_zero_snr)
    return sampling


def make_model(
    checkpoint: Checkpoint, scheduler_config: SchedulerConfig, source: ModelSource
) -> comfy.model_patcher.ModelPatcher:
    """Wrap a checkpoint as a MODEL. Nothing is loaded onto a device yet."""
    patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return patcher(
        UnconditionalModel(checkpoint, scheduler_config, source),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def unconditional_model(model: comfy.model_patcher.ModelPatcher) -> UnconditionalModel:
    """Return what a MODEL of ours holds.

    Raises:
        ValueError: the MODEL is of another kind.
    """
    inner = model.model
    if not isinstance(inner, UnconditionalModel):
        raise ValueError(
            f"This node needs the MODEL of 'Load Unconditional UNet', but a "
            f"{type(inner).__name__} is connected. Connect 'Load Unconditional UNet', or use "
            "KSampler with this model."
        )
    return inner


def weights_as_loaded(patcher: comfy.model_patcher.ModelPatcher) -> dict[str, Tensor]:
    """Return the network's tensors as its file gave them, wherever the host has put them.

    The host keeps the original of each weight that it patches; those are returned.
    """
    prefix = "diffusion_model."
    return {
        key.removeprefix(prefix): entries[0][0]
        for key, entries in patcher.get_key_patches(prefix).items()
    }
