"""Converts a network's output to (x0, eps), and clips x0.

All three predictions describe one point: x_t = sqrt(a) x0 + sqrt(1 - a) eps with
a = alphas_cumprod[t] (Ho et al. 2020, eq. 4), and v = sqrt(a) eps - sqrt(1 - a) x0
(Salimans & Ho 2022, appendix D).
"""

import torch
from torch import Tensor

from .config import PredictionType, SchedulerConfig


def to_x0_eps(
    output: Tensor, x_t: Tensor, a: Tensor, prediction_type: PredictionType
) -> tuple[Tensor, Tensor]:
    """Return the predicted image and the predicted noise, each shaped like ``x_t``.

    Args:
        output: the network's output, shape (B, C, H, W).
        x_t: the network's input, shape (B, C, H, W).
        a: alphas_cumprod at its time, 0-d, in 0..1.
        prediction_type: what ``output`` is.
    """
    alpha, sigma = a.sqrt(), (1 - a).sqrt()
    match prediction_type:
        case "epsilon":
            return (x_t - sigma * output) / alpha, output
        case "sample":
            return output, (x_t - alpha * output) / sigma
        case "v_prediction":
            return alpha * x_t - sigma * output, alpha * output + sigma * x_t


def from_x0(x0: Tensor, x_t: Tensor, a: Tensor, prediction_type: PredictionType) -> Tensor:
    """Return the network output that corresponds to an image: the inverse of ``to_x0_eps``.

    ``a`` must be above 0 and below 1, because the noise is computed as the rest of ``x_t``.
    """
    alpha, sigma = a.sqrt(), (1 - a).sqrt()
    match prediction_type:
        case "epsilon":
            return (x_t - alpha * x0) / sigma
        case "sample":
            return x0
        case "v_prediction":
            return (alpha * x_t - x0) / sigma


def add_noise(x0: Tensor, noise: Tensor, a: Tensor) -> Tensor:
    """Return x_t, the image noised to ``a`` = alphas_cumprod[t] (Ho et al. 2020, eq. 4)."""
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def to_eps(output: Tensor, x_t: Tensor, a: Tensor, prediction_type: PredictionType) -> Tensor:
    """Return the predicted noise alone; see ``to_x0_eps``."""
    if prediction_type == "epsilon":
        return output
    return to_x0_eps(output, x_t, a, prediction_type)[1]


def clip_x0(x0: Tensor, config: SchedulerConfig) -> Tensor:
    """Clip a predicted image to its range according to the scheduler options.

    ``thresholding`` (Saharia et al. 2022, section 2.3) takes precedence over ``clip_sample``.
    """
    if config.thresholding:
        flat = x0.flatten(1)
        limit = torch.quantile(flat.abs(), config.dynamic_thresholding_ratio, dim=1, keepdim=True)
        limit = limit.clamp(1.0, config.sample_max_value)
        return (flat.clamp(-limit, limit) / limit).view_as(x0)
    if config.clip_sample:
        return x0.clamp(-config.clip_sample_range, config.clip_sample_range)
    return x0
