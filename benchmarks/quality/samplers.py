"""The rows of the tables: each sampler, its evaluations, and its images."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.pndm import PNDM, Method
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import drain
from comfyui_unconditional.schedulers.span import Stretch
from torch import Tensor

from . import host_samplers
from .network import Network

End = Literal["data", "first"]
"""Where a run ends: at alphas_cumprod = 1, or at that of timestep 0 (PNDM, as in diffusers)."""

Draw = Callable[[Network, int, SeededNoise], Tensor]
"""(network, steps N, noise) -> images, unclipped."""


@dataclass(frozen=True)
class Row:
    """One sampler.

    Attributes:
        name: in the tables.
        draw: generates the images of one batch.
        evaluations: (scheduler options, N) -> the number of calls of the network.
        end: where it ends.
        is_exact: whether its images depend on the initial noise alone and are not clipped, so that
            they converge and can be compared with the converged image.
        same_as: the row that gives exactly the same images.
    """

    name: str
    draw: Draw
    evaluations: Callable[[SchedulerConfig, int], int]
    end: End
    is_exact: bool = True
    same_as: str | None = None

    def steps_within(self, config: SchedulerConfig, budget: int) -> int | None:
        """Return the largest N that divides T and costs 1 .. ``budget`` evaluations, or None."""
        T = config.num_train_timesteps
        divisors = (n for n in range(min(budget, T), 0, -1) if T % n == 0)
        return next((n for n in divisors if 1 <= self.evaluations(config, n) <= budget), None)

    @torch.inference_mode()
    def images(self, network: Network, steps: int, seeds: range, batch: int) -> Tensor:
        """Return the images of these seeds, unclipped, float32, shape (n, C, H, W).

        Raises:
            RuntimeError: the number of calls of the network is not that of ``evaluations``.
        """
        expected = self.evaluations(network.config, steps)
        batches = []
        for first in range(0, len(seeds), batch):
            before = network.calls
            noise = SeededNoise(seeds[first : first + batch], network.shape)
            batches.append(self.draw(network, steps, noise))
            if network.calls - before != expected:
                raise RuntimeError(
                    f"{self.name} called the network {network.calls - before} times instead of "
                    f"{expected}."
                )
        return torch.cat(batches)


def _each_step(config: SchedulerConfig, steps: int) -> int:
    return steps


def _ddpm(*, clip: bool) -> Row:
    def draw(network: Network, steps: int, noise: SeededNoise) -> Tensor:
        config = replace(network.config, clip_sample=clip)
        return drain(DDPM.over(config, Stretch(steps)).sample(network, noise(), noise))

    name = "DDPM" if clip else "DDPM, unclipped"
    return Row(name, draw, _each_step, "data", is_exact=False)


def _ddim(*, clip: bool) -> Row:
    def draw(network: Network, steps: int, noise: SeededNoise) -> Tensor:
        config = replace(network.config, clip_sample=clip)
        return drain(DDIM.over(config, Stretch(steps)).sample(network, noise(), noise))

    name = "DDIM" if clip else "DDIM, unclipped"
    return Row(name, draw, _each_step, "data", is_exact=not clip)


def _pndm(method: Method) -> Row:
    def sampler(config: SchedulerConfig, steps: int) -> PNDM:
        return PNDM.over(config, Stretch(steps), method=method)

    def draw(network: Network, steps: int, noise: SeededNoise) -> Tensor:
        return drain(sampler(network.config, steps).sample(network, noise(), noise))

    def evaluations(config: SchedulerConfig, steps: int) -> int:
        try:
            return sampler(config, steps).evaluations
        except ScheduleError:  # its only step would change nothing
            return 0

    return Row(method, draw, evaluations, "first")


def _host(name: str) -> Row:
    def draw(network: Network, steps: int, noise: SeededNoise) -> Tensor:
        return host_samplers.draw(name, network, steps, noise())

    # Without a mask, ComfyUI's ddim is the same as its euler.
    same_as = "ComfyUI euler" if name == "ddim" else None
    return Row(f"ComfyUI {name}", draw, _each_step, "data", same_as=same_as)


OURS = (
    _ddpm(clip=True),
    _ddpm(clip=False),
    _ddim(clip=True),
    _ddim(clip=False),
    _pndm("S-PNDM"),
    _pndm("F-PNDM"),
    _pndm("PLMS"),
    _pndm("FON"),
)
HOSTS = tuple(_host(name) for name in ("euler", "ddim", "ipndm", "dpmpp_2m", "uni_pc"))
ROWS = {row.name: row for row in (*OURS, *HOSTS)}
