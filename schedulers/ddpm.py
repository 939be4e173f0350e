"""DDPM: ancestral sampling (Ho et al. 2020, algorithm 2), with any number of steps."""

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from .config import SchedulerConfig, VarianceType
from .errors import ScheduleError, check_choice
from .evaluation import Evaluation, Model, Noise, Sampling
from .noise_schedule import NoiseSchedule
from .prediction import clip_x0, to_x0_eps
from .run import Run, Span
from .timesteps import END, step_pairs


def ddpm_run(
    config: SchedulerConfig, span: Span, *, variance_type: VarianceType | None = None
) -> Run:
    """Return DDPM over the steps of ``span``, ready to start; see ``sample_ddpm``."""
    table = NoiseSchedule.from_config(config).alphas_cumprod
    return Run(
        span,
        len(span.timesteps),
        config.prediction_type,
        lambda t: table[int(t)],
        lambda model, x, noise: sample_ddpm(
            model,
            x,
            config=config,
            timesteps=span.timesteps,
            end=span.end,
            noise=noise,
            variance_type=variance_type,
        ),
    )


def sample_ddpm(
    model: Model,
    x: Tensor,
    *,
    config: SchedulerConfig,
    timesteps: Sequence[int],
    end: int = END,
    noise: Noise,
    variance_type: VarianceType | None = None,
    dtype: torch.dtype = torch.float32,
) -> Sampling:
    """Sample with one evaluation per timestep, adding noise in each that does not end at the data.

    Args:
        model: see ``evaluation.Model``; with a learned variance it returns 2C channels.
        x: shape (B, C, H, W), at the first timestep: at the start of a whole list, standard normal
            noise.
        timesteps: descending, as from ``make_timesteps``, or a part of such a list.
        end: the time after the last step.
        noise: drawn once for each step but the one that ends at the data.
        variance_type: overrides the one in ``config``.
        dtype: of the schedule's tables.

    Raises:
        ScheduleError: the variance is to be learned, but the model has C outputs; or there is no
            such variance type.
    """
    alphas_cumprod = NoiseSchedule.from_config(config, dtype=dtype).alphas_cumprod
    one = torch.ones((), dtype=dtype)
    channels = x.shape[1]
    kind = variance_type or config.variance_type
    check_choice("variance_type", kind, get_args(VarianceType))

    for t, t_prev in step_pairs(timesteps, end):
        prediction, learned = _split(model(x, t), channels, kind)
        a, a_prev = alphas_cumprod[t], one if t_prev == END else alphas_cumprod[t_prev]
        yield Evaluation(t, x, prediction, a, config.prediction_type)

        # The image that the model predicts (eq. 15, solved for x0).
        x0, _ = to_x0_eps(prediction, x, a, config.prediction_type)
        x0 = clip_x0(x0, config)

        # The mean of the posterior q(x_{t-1} | x_t, x0) (eq. 7); between any two times of the
        # list, alpha is the ratio of their cumulative products.
        alpha = a / a_prev
        beta = 1 - alpha
        mean = (a_prev.sqrt() * beta / (1 - a)) * x0 + (alpha.sqrt() * (1 - a_prev) / (1 - a)) * x

        # The step that ends at the data has no noise (algorithm 2, line 3).
        if t_prev == END:
            x = mean
        else:
            std = _std(kind, a, a_prev, beta, learned)
            x = mean + std * noise().to(x)
    return x


def _split(output: Tensor, channels: int, kind: VarianceType) -> tuple[Tensor, Tensor | None]:
    """Return the prediction and, where ``kind`` needs it, the learned variance."""
    if not kind.startswith("learned"):
        return output[:, :channels], None
    if output.shape[1] != 2 * channels:
        raise ScheduleError(
            f"variance_type '{kind}' needs a model that also predicts its variance "
            f"({2 * channels} output channels), but this one has {output.shape[1]}. "
            "Choose fixed_small or fixed_large."
        )
    return output[:, :channels], output[:, channels:]


def _std(
    kind: VarianceType, a: Tensor, a_prev: Tensor, beta: Tensor, learned: Tensor | None
) -> Tensor:
    """Return the standard deviation of the noise to add: 0-d, or (B, C, H, W) where learned."""
    # The two ends of the range of sensible variances (section 3.2).
    smallest = ((1 - a_prev) / (1 - a) * beta).clamp(min=1e-20)
    match kind:
        # The log forms are for numerical stability only: the variances are the same.
        case "fixed_small" | "fixed_small_log":
            return smallest.sqrt()
        case "fixed_large" | "fixed_large_log":
            return beta.sqrt()
    assert learned is not None
    # Nichol & Dhariwal 2021: the log-variance itself, or (eq. 15) where between the ends it lies.
    if kind == "learned":
        return (0.5 * learned).exp()
    fraction = (learned + 1) / 2
    return (0.5 * (fraction * beta.log() + (1 - fraction) * smallest.log())).exp()
