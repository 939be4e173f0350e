"""diffusers' schedulers driven in a loop, unclipped, as its pipelines drive them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from diffusers import DDIMScheduler, DDPMScheduler, PNDMScheduler
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


def run_ddpm(
    config: SchedulerConfig,
    steps: int,
    denoise: Denoise,
    seeds: Sequence[int],
    shape: Sequence[int],
    **changes: Any,
) -> Tensor:
    scheduler = DDPMScheduler(**_options(config, _NOT_DDPM) | changes)
    return _run(scheduler, steps, denoise, seeds, shape, with_generator=True)


def run_ddim(
    config: SchedulerConfig,
    steps: int,
    denoise: Denoise,
    seeds: Sequence[int],
    shape: Sequence[int],
    eta: float = 0.0,
) -> Tensor:
    scheduler = DDIMScheduler(**_options(config, _NOT_DDIM))
    return _run(scheduler, steps, denoise, seeds, shape, with_generator=True, eta=eta)


def run_pndm(
    config: SchedulerConfig,
    steps: int,
    denoise: Denoise,
    seeds: Sequence[int],
    shape: Sequence[int],
    *,
    skip_prk_steps: bool,
) -> Tensor:
    scheduler = PNDMScheduler(**_options(config, _NOT_PNDM), skip_prk_steps=skip_prk_steps)
    return _run(scheduler, steps, denoise, seeds, shape, with_generator=False)


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
    with_generator: bool,
    **more: Any,
) -> Tensor:
    x, generators = initial_noise(seeds, shape)
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        output = denoise(x, t)
        if with_generator:
            more["generator"] = generators
        x = scheduler.step(output, t, x, **more).prev_sample
    return x
