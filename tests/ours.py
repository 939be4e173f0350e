"""Our samplers from seeds to the final x, and the comparison with an oracle.

With ``exact`` the arithmetic is that of float64, on the same noise and the same float32 tables.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import Model, Sampler, drain
from comfyui_unconditional.schedulers.span import Stretch
from torch import Tensor

_MODELS = Path(__file__).resolve().parent.parent / "models"
DIGITS, DEEP_FIELD = _MODELS / "digits-16", _MODELS / "deep-field"
SEEDS = (5, 2**64 - 1, 123)


Shape = tuple[int, int, int]


def _run(
    kind: type[Sampler],
    config: SchedulerConfig,
    steps: int,
    model: Model,
    seeds: Sequence[int],
    shape: Shape,
    *,
    exact: bool = False,
    **settings: Any,
) -> Tensor:
    noise, dtype = SeededNoise(seeds, shape), torch.float64 if exact else torch.float32
    if exact:
        config = with_wide_tables(config)
    sampler = kind.over(config, Stretch(steps), dtype=dtype, **settings)
    with torch.inference_mode():
        return drain(sampler.sample(model, noise().to(dtype), noise))


run_ddpm = partial(_run, DDPM)


def run_ddim(
    config: SchedulerConfig,
    steps: int,
    model: Model,
    seeds: Sequence[int],
    shape: Shape,
    eta: float = 0.0,
    **more: Any,
) -> Tensor:
    return _run(DDIM, config, steps, model, seeds, shape, eta=eta, **more)


def run_pndm(config: SchedulerConfig, *given: Any, exact: bool = False, **settings: Any) -> Tensor:
    """Settings are PNDM's: method and convention."""
    if exact:  # PNDM never rescales
        config = dataclasses.replace(config, rescale_betas_zero_snr=False)
    return _run(PNDM, config, *given, exact=exact, **settings)


def with_wide_tables(config: SchedulerConfig) -> SchedulerConfig:
    """The betas whose float64 table has the very values of the float32 table."""
    a = NoiseSchedule.from_config(config).alphas_cumprod.double()
    alphas = torch.cat((a[:1], a[1:] / a[:-1]))
    betas = tuple((1 - alphas).tolist())
    return dataclasses.replace(config, trained_betas=betas, rescale_betas_zero_snr=False)


def difference(ours: Tensor, reference: Tensor, *, inside: bool = True) -> float:
    """The largest difference, relative to the larger of 1 and the largest value.

    At least half of the reference must lie inside (-1, 1), where a picture would show a difference,
    unless ``inside`` is False.
    """
    assert ours.shape == reference.shape
    assert torch.isfinite(reference).all()
    if inside:
        assert (reference.abs() < 1).float().mean() >= 0.5
    return ((ours - reference).abs().max() / max(1.0, reference.abs().max())).item()


def counting(model: Model, calls: list[float]) -> Callable[[Tensor, float], Tensor]:
    """Wrap a model so that it notes the time of each call."""

    def call(x: Tensor, t: float) -> Tensor:
        calls.append(t)
        return model(x, t)

    return call
