"""Convert a model's process for the host's samplers, and a host's schedule for ours."""

import math
from typing import Any

import comfy.model_sampling as core
import torch
from comfy.model_base import ModelType
from torch import Tensor

from ..schedulers.config import PredictionType, SchedulerConfig
from ..schedulers.consistency_model import ConsistencyConfig
from ..schedulers.noise_schedule import NoiseSchedule
from ..schedulers.process import Process, SigmaProcess
from ..schedulers.score_model import ScoreConfig
from ..schedulers.span import Span
from ..schedulers.timesteps import END

# The host's class that converts the network's output into an image, and its model type.
PREDICTIONS: dict[PredictionType, tuple[type, ModelType]] = {
    "epsilon": (core.EPS, ModelType.EPS),
    "v_prediction": (core.V_PREDICTION, ModelType.V_PREDICTION),
    "sample": (core.X0, ModelType.EPS),
}


class _Tables(core.ModelSamplingDiscrete):
    """The host's schedule, with tables that are not buffers.

    With dynamic VRAM the host backs up a model's buffers and restores them by name. If another node
    has replaced the schedule in between, it would restore one schedule's tables into the other,
    which would then give wrong pictures.
    """

    def set_sigmas(self, sigmas: Tensor) -> None:
        self.sigmas, self.log_sigmas = sigmas.float(), sigmas.log().float()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Ignore the call, which would restore a table of another schedule."""


class _Sigmas(core.ModelSamplingContinuousEDM):
    """The host's continuous noise levels, with the equations of a process of ours.

    Its ``timestep`` is logarithmic, like the host's, because the host's schedulers space by it.
    """

    def __init__(self, process: SigmaProcess):
        super().__init__()
        self.scheduler_config = process
        low, high = map(math.log10, process.sigma_range)
        self.sigmas = torch.logspace(low, high, 1000, dtype=torch.float64).float()
        self.log_sigmas, self.sigma_data = self.sigmas.log(), 1.0

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Ignore the call, as in ``_Tables``."""

    def network_time(self, sigma: Tensor) -> Tensor:
        """Return the time for the network, shape (B,)."""
        return self.scheduler_config.network_time(sigma)

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        return self.scheduler_config.network_input(noise, core.reshape_sigma(sigma, noise.ndim))

    def calculate_denoised(
        self, sigma: Tensor, model_output: Tensor, model_input: Tensor
    ) -> Tensor:
        sigma = core.reshape_sigma(sigma, model_output.ndim)
        return self.scheduler_config.denoised(model_output, model_input, sigma)

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        sigma = core.reshape_sigma(sigma, noise.ndim)
        return self.scheduler_config.noised(latent_image, noise, sigma)

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        return latent


def model_type(process: Process) -> ModelType:
    """Return the host's name for a process."""
    if isinstance(process, SchedulerConfig):
        return PREDICTIONS[process.prediction_type][1]
    return ModelType.EDM


def make_model_sampling(config: Process) -> Any:
    """Return a host schedule with exactly this process, which also has ``scheduler_config``."""
    if not isinstance(config, SchedulerConfig):
        return _Sigmas(config)
    mixin, _ = PREDICTIONS[config.prediction_type]
    sampling: Any = type("ModelSampling", (_Tables, mixin), {})()
    # The host's zsnr keeps the last sigma finite for its samplers; our rescaling would not.
    betas = NoiseSchedule.from_config(config, rescale_zero_snr=False).betas
    sampling._register_schedule(given_betas=betas, zsnr=config.rescale_betas_zero_snr)
    sampling.scheduler_config = config
    return sampling


def carried_process(sampling: Any) -> Process | None:
    """Return the process of a ``model_sampling`` of this pack, None for others."""
    config = getattr(sampling, "scheduler_config", None)
    return config if isinstance(config, Process) else None


def process_to_draw(sampling: Any, own: Process) -> Process:
    """Return the process with which a network of this pack is evaluated.

    Args:
        sampling: the MODEL's; another node may have replaced it.
        own: that of the model's file.

    Raises:
        ValueError: another node has replaced the noise levels of a process that needs its own.
    """
    carried = carried_process(sampling)
    if carried is None and not isinstance(own, SchedulerConfig):
        raise ValueError(
            f"Another node has set this MODEL's noise levels to {type(sampling).__name__}, but it "
            f"is {KINDS[type(own)]}, which needs its own. Remove that node."
        )
    return carried or own


def network_times(sampling: Any, sigma: Tensor) -> Tensor:
    """Return the times that a network of this pack receives for noise levels, shape (B,)."""
    return getattr(sampling, "network_time", sampling.timestep)(sigma)


KINDS: dict[type, str] = {
    SchedulerConfig: "a model of DDPM's process",
    ConsistencyConfig: "a consistency model",
    ScoreConfig: "a variance-exploding score model (NCSN++)",
}
_WAYS_OUT: dict[type, str] = {
    ConsistencyConfig: "Use 'Consistency Sampler', or KSampler with sampler_name lcm.",
    ScoreConfig: "Use KSampler with 'Empty Pixel Latent' and 'Empty Conditioning'.",
}


def check_schedule(process: Process) -> SchedulerConfig:
    """Return the options of DDPM's process.

    Raises:
        ValueError: it is another process. The message names it, and the node to use.
    """
    if isinstance(process, SchedulerConfig):
        return process
    raise ValueError(
        f"This MODEL is {KINDS[type(process)]}, trained on noise levels (sigmas). It has no "
        "timesteps and betas, which PNDM, DDPM, DDIM and the nodes for noise schedules need. "
        f"{_WAYS_OUT[type(process)]}"
    )


def any_schedule(sampling: Any) -> SchedulerConfig:
    """Return the scheduler options of any MODEL, from its ``model_sampling``.

    For a model of another kind, its table of sigmas is converted to betas, without clipping.

    Raises:
        ValueError: it has no table of noise levels, or does not predict epsilon, v or the image.
    """
    own = carried_process(sampling)
    if own is not None:
        return check_schedule(own)
    prediction = _prediction(sampling)
    if prediction is None:
        raise ValueError(
            "PNDM, DDPM and DDIM need a model with DDPM's discrete noise schedule that predicts "
            "epsilon or v, for example one of this pack, Stable Diffusion 1 or 2, or SDXL. This "
            f"MODEL {_kind(sampling)}. Use one of ComfyUI's own samplers with it."
        )
    alphas_cumprod = 1 / (1 + sampling.sigmas.double().cpu() ** 2)
    previous = torch.cat((torch.ones(1, dtype=torch.float64), alphas_cumprod[:-1]))
    betas = (1 - alphas_cumprod / previous).clamp(0, 1)
    return SchedulerConfig(
        num_train_timesteps=len(betas),
        trained_betas=tuple(betas.tolist()),
        prediction_type=prediction,
        clip_sample=False,
    )


def _prediction(sampling: Any) -> PredictionType | None:
    """Return what a schedule's model predicts, judged by its methods: subclasses may change them.

    None unless its samples are x_t = x / sqrt(1 + sigma^2) on a table of timesteps.
    """
    kind = type(sampling)
    if getattr(kind, "timestep", None) is not core.ModelSamplingDiscrete.timestep:
        return None
    if kind.calculate_input is not core.EPS.calculate_input:
        return None
    for name, (mixin, _) in PREDICTIONS.items():
        if kind.calculate_denoised is mixin.calculate_denoised:
            return name
    return None


def _kind(sampling: Any) -> str:
    if isinstance(sampling, core.CONST) or hasattr(sampling, "multiplier"):
        return "is a flow-matching model (like SD3, Flux, Wan)"
    if isinstance(sampling, core.EDM | core.ModelSamplingContinuousEDM):
        return "is variance-exploding or has continuous noise levels (EDM), not timesteps"
    return f"has another noise schedule ({type(sampling).__name__})"


def sigmas_of(sampling: Any, span: Span) -> Tensor:
    """Return the host's noise levels of these steps, 0 for the data; float32, shape (N + 1,)."""
    times = torch.tensor(span.timesteps if span.end == END else (*span.timesteps, span.end))
    sigmas = sampling.sigmas.cpu()[times].float()
    return torch.cat((sigmas, torch.zeros(1))) if span.end == END else sigmas


def span_of(sampling: Any, sigmas: Tensor) -> Span:
    """Return the steps between the host's noise levels, at the nearest timesteps; 0 is the data.

    Levels nearest to the same timestep are merged.

    Raises:
        ValueError: the levels do not descend, or there is no step between them.
    """
    if (sigmas[1:] > sigmas[:-1]).any():
        raise ValueError(
            "These SIGMAS are not in descending order. PNDM and DDPM sample from noise to the "
            "image, so each must be smaller than the one before. Remove FlipSigmas."
        )
    times = sampling.timestep(sigmas).tolist()
    listed = [END if sigma == 0 else int(t) for sigma, t in zip(sigmas, times, strict=True)]
    *timesteps, end = dict.fromkeys(listed) or (END,)
    if not timesteps:
        raise ValueError(
            f"These SIGMAS ({sigmas.tolist()}) contain no step from one timestep of the model to "
            "another. Connect 'Timesteps', or a scheduler with more steps."
        )
    return Span(tuple(timesteps), end)
