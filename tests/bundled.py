"""Runs of the bundled model: ours, and those of diffusers in float32 and in float64."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import oracle
import ours
import torch
from comfyui_unconditional.checkpoints.files import find_files, read_json
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.networks.placement import place_weights
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from diffusers import UNet2DModel
from float64 import SEEDS, widened
from ours import DIGITS
from torch import Tensor, nn

SHAPE = (1, 16, 16)
_FILES = find_files(DIGITS)
assert _FILES.scheduler_config is not None
CONFIG = SchedulerConfig.from_dict(read_json(_FILES.scheduler_config))

RUNS: list[tuple[str, int, float]] = [
    *(("DDPM", steps, 0.0) for steps in (7, 50)),
    *(("DDIM", 10, eta) for eta in (0.0, 0.5, 1.0)),
    ("DDIM", 50, 0.0),
    *(("F-PNDM", steps, 0.0) for steps in (4, 10, 50)),
    *(("PLMS", steps, 0.0) for steps in (2, 10, 50)),
]
"""Sampler, steps and eta of what is run over 16 seeds."""


def network() -> UNet2D:
    """Our network in the form in which the pack runs it."""
    return place_weights(read_checkpoint(_FILES).build(UNet2D), torch.device("cpu"))


@cache
def _networks() -> tuple[UNet2D, nn.Module, nn.Module, nn.Module]:
    theirs = UNet2DModel.from_pretrained(DIGITS / "unet").eval()
    return network(), widened(network()), theirs, widened(theirs)


@cache
def our_run(
    name: str, steps: int, eta: float = 0.0, *, seeds: Sequence[int] = SEEDS, exact: bool = False
) -> Tensor:
    """The final x of our core, not clipped."""
    given: tuple[Any, ...] = (CONFIG, steps, _networks()[1 if exact else 0], seeds, SHAPE)
    if name == "DDPM":
        return ours.run_ddpm(*given, exact=exact)
    if name == "DDIM":
        return ours.run_ddim(*given, eta, exact=exact)
    return ours.run_pndm(*given, method=name, exact=exact)


def their_run(
    name: str, steps: int, eta: float = 0.0, *, seeds: Sequence[int] = SEEDS, exact: bool = False
) -> Tensor:
    """The final x of diffusers, not clipped."""
    network = _networks()[3 if exact else 2]

    @torch.inference_mode()
    def denoise(x: Tensor, t: Any) -> Tensor:
        return network(x, t).sample

    given: tuple[Any, ...] = (CONFIG, steps, denoise, seeds, SHAPE)
    if name == "DDPM":
        return oracle.run_ddpm(*given, exact=exact)
    if name == "DDIM":
        return oracle.run_ddim(*given, eta, exact=exact)
    return oracle.run_pndm(*given, skip_prk_steps=name == "PLMS", exact=exact)


@cache
def their_runs(sampler: str, steps: int, eta: float = 0.0) -> tuple[Tensor, Tensor]:
    """diffusers in float32 and in float64, over ``SEEDS``."""
    float32 = their_run(sampler, steps, eta)
    return float32, their_run(sampler, steps, eta, exact=True)
