"""Noise that depends on the image's seed only, not on its batch or device."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

SEEDS = 2**64
"""Seeds are 0 .. SEEDS - 1. torch's CPU generator uses their low 32 bits."""


def image_seeds(seed: int, indices: Iterable[int]) -> list[int]:
    """Return the seed of each image of a batch: seed + index, wrapping to 0 after the last seed."""
    return [(seed + index) % SEEDS for index in indices]


class SeededNoise:
    """Draws noise for a batch from one CPU generator per image, in float32.

    An image's noise is bit for bit the same alone, in any batch, and for any device.

    Args:
        seeds: one for each of B images.
        shape: (C, H, W) of one image.
        before_draw: called before each draw, including skipped ones; it may raise to cancel the
            run.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, ...],
        before_draw: Callable[[], object] = lambda: None,
    ):
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._shape, self._before_draw = shape, before_draw
        self._to_skip = 0

    def __call__(self) -> Tensor:
        """Return the next draw, float32 on the CPU, shape (B, C, H, W)."""
        while self._to_skip:
            self._draw()
            self._to_skip -= 1
        return self._draw()

    def skip(self, draws: int) -> None:
        """Skip the next ``draws`` draws, so that draw i is the same wherever a run starts.

        They are skipped at the next draw: a sampler that draws nothing spends no time on them.
        """
        self._to_skip += draws

    def _draw(self) -> Tensor:
        self._before_draw()
        return torch.cat([torch.randn((1, *self._shape), generator=g) for g in self._generators])
