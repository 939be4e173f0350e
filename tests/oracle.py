"""diffusers' schedulers driven in a loop, unclipped, as its pipelines drive them.

With ``exact`` the arithmetic is that of float64, on the same noise and the same float32 tables.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from diffusers import DDIMScheduler, DDPMScheduler, PNDMScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

Denoise = Callable[[Tensor, Any], Tensor]

_NOT_PNDM = {"clip_sample", "clip_sample_range", "thresholding", "variance_type"}
_NOT_PNDM |= {"dynamic_thresholding_ratio", "sample_max_value", "rescale_betas_zero_snr"}
_NOT_DDIM = {"variance_type"}
_NOT_DDPM = {"set_alpha_to_one"}


def initial_noise(seeds: Sequence[int], shape: Sequence[int]) -> tuple[Tensor, list[Any]]:
    """Return x_T of each seed, and the generators that drew it."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return torch.cat([torch.randn((1, *shape), generator=g) for g in generators]), generators


def run_ddpm(config: SchedulerConfig, *given: Any, exact: bool = False, **changes: Any) -> Tensor:
    """A run with these steps, denoiser, seeds and shape; ``changes`` are scheduler options."""
    scheduler = DDPMScheduler(**_options(config, _NOT_DDPM) | changes)
    return _run(scheduler, *given, exact=exact, with_generator=True)


def run_ddim(
    config: SchedulerConfig,
    steps: int,
    denoise: Denoise,
    seeds: Sequence[int],
    shape: Sequence[int],
    eta: float = 0.0,
    *,
    exact: bool = False,
) -> Tensor:
    given = (DDIMScheduler(**_options(config, _NOT_DDIM)), steps, denoise, seeds, shape)
    return _run(*given, exact=exact, with_generator=True, eta=eta)


def run_pndm(
    config: SchedulerConfig, *given: Any, skip_prk_steps: bool, exact: bool = False
) -> Tensor:
    scheduler = PNDMScheduler(**_options(config, _NOT_PNDM), skip_prk_steps=skip_prk_steps)
    return _run(scheduler, *given, exact=exact, with_generator=False)


def _options(config: SchedulerConfig, without: set[str]) -> dict[str, Any]:
    options = config.to_dict()
    if "trained_betas" in options:
        options["trained_betas"] = list(options["trained_betas"])
    return {name: value for name, value in options.items() if name not in without}


def _run(
    scheduler: Any,
    steps: int,
    denoise: Denoise,
    seeds: Sequence[int],
    shape: Sequence[int],
    *,
    exact: bool,
    with_generator: bool,
    **more: Any,
) -> Tensor:
    x, generators = initial_noise(seeds, shape)
    scheduler.set_timesteps(steps)
    with ExitStack() as widened:
        if exact:
            x = x.double()
            _widen(scheduler, widened)
        for t in scheduler.timesteps:
            output = denoise(x, t)
            if with_generator:
                more["generator"] = generators
            x = scheduler.step(output, t, x, **more).prev_sample
    return x


def _widen(scheduler: Any, context: ExitStack) -> None:
    """Let a scheduler compute in float64, with the tables and the noise of float32."""
    for name, table in vars(scheduler).items():
        if isinstance(table, Tensor) and table.is_floating_point():
            setattr(scheduler, name, table.double())

    def float32_noise(*shape: Any, dtype: torch.dtype, **more: Any) -> Tensor:
        return randn_tensor(*shape, dtype=torch.float32, **more).to(dtype)

    for name in ("ddpm", "ddim"):
        place = f"diffusers.schedulers.scheduling_{name}.randn_tensor"
        context.enter_context(mock.patch(place, float32_noise))
