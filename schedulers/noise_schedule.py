"""How much noise each training step adds: the tables of betas and cumulative alphas."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import SchedulerConfig

_SMALLEST = 1e-30
"""Replaces 0, whose time would be infinite."""


@dataclass(frozen=True)
class NoiseSchedule:
    """``betas`` and ``alphas_cumprod``, each of shape (T,), indexed by the training step t."""

    betas: Tensor
    alphas_cumprod: Tensor

    @classmethod
    def from_config(
        cls,
        config: SchedulerConfig,
        *,
        dtype: torch.dtype = torch.float32,
        rescale_zero_snr: bool | None = None,
    ) -> "NoiseSchedule":
        """Build the tables on the CPU.

        Args:
            config: the options.
            dtype: float32 gives exactly diffusers' tables; float64 is for measuring errors.
            rescale_zero_snr: overrides ``config.rescale_betas_zero_snr``.
        """
        betas = make_betas(config, dtype=dtype)
        if config.rescale_betas_zero_snr if rescale_zero_snr is None else rescale_zero_snr:
            betas = rescale_to_zero_snr(betas)
        return cls(betas, torch.cumprod(1.0 - betas, dim=0))

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of training steps."""
        return len(self.betas)


def noise_clock(alpha_cumprod: float) -> float:
    """Return sqrt(-ln alphas_cumprod), a time that does not depend on the schedule; 0 for the data.

    -ln alphas_cumprod is the sum of the noise added so far. With linear betas its square root is
    nearly proportional to t. Near the data it is nearly proportional to the noise level, in which
    the predicted noise is smooth.
    """
    return math.sqrt(-math.log(max(alpha_cumprod, _SMALLEST)))


def make_betas(config: SchedulerConfig, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the variances beta_t of the forward steps, shape (T,), values in 0..1."""
    if config.trained_betas is not None:
        return torch.tensor(config.trained_betas, dtype=dtype)
    T = config.num_train_timesteps
    start, end = config.beta_start, config.beta_end
    match config.beta_schedule:
        # Ho et al. 2020, section 4.
        case "linear":
            return torch.linspace(start, end, T, dtype=dtype)
        # "quad" in the code of the PNDM paper; Stable Diffusion's schedule.
        case "scaled_linear":
            return torch.linspace(start**0.5, end**0.5, T, dtype=dtype) ** 2
        # Nichol & Dhariwal 2021, eq. (17).
        case "squaredcos_cap_v2":
            return _betas_of(lambda s: math.cos((s + 0.008) / 1.008 * math.pi / 2) ** 2, T, dtype)
        # GeoDiff (Xu et al. 2022).
        case "sigmoid":
            ramp = torch.sigmoid(torch.linspace(-6, 6, T, dtype=dtype))
            return ramp * (end - start) + start
        # Hang & Gu 2024, table 1: the log signal-to-noise ratio is Laplace-distributed.
        case "laplace":
            return _betas_of(_laplace_alpha_bar, T, dtype)


def _betas_of(alpha_bar: Callable[[float], float], T: int, dtype: torch.dtype) -> Tensor:
    """Return 1 - alpha_bar(t + 1) / alpha_bar(t), at most 0.999, for alpha_bar over 0..1."""
    betas = [min(1 - alpha_bar((t + 1) / T) / alpha_bar(t / T), 0.999) for t in range(T)]
    return torch.tensor(betas, dtype=dtype)


def _laplace_alpha_bar(s: float) -> float:
    log_snr = -0.5 * math.copysign(1, 0.5 - s) * math.log(1 - 2 * abs(0.5 - s) + 1e-6)
    snr = math.exp(log_snr)
    return math.sqrt(snr / (1 + snr))


def rescale_to_zero_snr(betas: Tensor) -> Tensor:
    """Shift and scale the schedule so that its last step is pure noise.

    Lin et al. 2024 ("Common diffusion noise schedules and sample steps are flawed"), algorithm 1.
    """
    roots = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    alphas_cumprod = ((roots - last) * (first / (first - last))) ** 2
    alphas = torch.cat((alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]))
    return 1.0 - alphas
