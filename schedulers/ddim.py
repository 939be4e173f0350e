"""DDIM: non-Markovian sampling (Song et al. 2021), deterministic at eta = 0."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .config import SchedulerConfig
from .errors import ScheduleError
from .evaluation import Evaluation, Model, Noise, Sampling
from .noise_schedule import NoiseSchedule
from .prediction import clip_x0, to_x0_eps
from .run import Run, Span
from .timesteps import END, step_pairs


def ddim_run(config: SchedulerConfig, span: Span, *, eta: float = 0.0) -> Run:
    """Return DDIM over the steps of ``span``, ready to start; see ``sample_ddim``."""
    table = NoiseSchedule.from_config(config).alphas_cumprod
    return Run(
        span,
        len(span.timesteps),
        config.prediction_type,
        lambda t: table[int(t)],
        lambda model, x, noise: sample_ddim(
            model, x, config=config, timesteps=span.timesteps, end=span.end, noise=noise, eta=eta
        ),
    )


def sample_ddim(
    model: Model,
    x: Tensor,
    *,
    config: SchedulerConfig,
    timesteps: Sequence[int],
    end: int = END,
    noise: Noise,
    eta: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Sampling:
    """Sample with one evaluation per timestep.

    Args:
        model: see ``evaluation.Model``; of 2C output channels the first C are used.
        x: shape (B, C, H, W), at the first timestep: at the start of a whole list, standard normal
            noise.
        timesteps: descending, as from ``make_timesteps``, or a part of such a list.
        end: the time after the last step.
        noise: drawn once per step where ``eta`` > 0.
        eta: 0 (deterministic) to 1 (as much noise as DDPM).
        dtype: of the schedule's tables.

    Raises:
        ScheduleError: ``eta`` is not in 0..1.

    ``set_alpha_to_one`` is True where the model does not say, as in diffusers' DDIMScheduler.
    """
    if not 0 <= eta <= 1:
        raise ScheduleError(f"eta must be from 0 to 1, not {eta}.")
    alphas_cumprod = NoiseSchedule.from_config(config, dtype=dtype).alphas_cumprod
    final = alphas_cumprod[0] if config.set_alpha_to_one is False else torch.ones((), dtype=dtype)

    for t, t_prev in step_pairs(timesteps, end):
        output = model(x, t)[:, : x.shape[1]]
        a, a_prev = alphas_cumprod[t], final if t_prev == END else alphas_cumprod[t_prev]
        yield Evaluation(t, x, output, a, config.prediction_type)

        # "predicted x0" (eq. 12); the noise is not predicted anew from the clipped image.
        x0, eps = to_x0_eps(output, x, a, config.prediction_type)
        x0 = clip_x0(x0, config)

        # sigma_t (eq. 16).
        sigma = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()

        # "direction pointing to x_t" and "random noise" (eq. 12).
        x = a_prev.sqrt() * x0 + (1 - a_prev - sigma**2).clamp(min=0).sqrt() * eps
        if eta > 0:
            x = x + sigma * noise().to(x)
    return x
