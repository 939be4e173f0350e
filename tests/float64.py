"""The bounds of parity: no farther from float64 than the reference's own float32.

Two computations in float32 differ by what each of them rounds. A fixed bound on that difference
measures the processor, and a sampler amplifies it by the network's slope. So ours and the reference
are both compared with the same computation in float64, and ours may be at most

- one evaluation of a network: 2 times as far from it as the reference, plus 1e-6;
- a whole run: 4 times as far, plus 1e-6, by the median over 16 seeds. (A single seed breaks a
  factor of 2 by chance: every third does with PLMS and 10 steps.)

The distance of an image is its largest difference, relative to the largest value of the exact
image.
"""

import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfyui_unconditional.schedulers.randomness import image_seeds
from torch import Tensor, nn

EVALUATION, RUN, ROOM = 2, 4, 1e-6
FIRST_SEED = 2**64 - 8
SEEDS = tuple(image_seeds(FIRST_SEED, range(16)))
"""Those of a batch of 16 in a node with ``FIRST_SEED``; half of them are small."""


@dataclass(frozen=True)
class Comparison:
    """The distances of ours and of the reference from float64, and the largest between the two."""

    ours: float
    theirs: float
    apart: float
    factor: int

    @property
    def bound(self) -> float:
        return self.factor * self.theirs + ROOM

    @property
    def holds(self) -> bool:
        return self.ours <= self.bound


Parity = Callable[[str, Comparison], None]
"""The fixture of that name: assert that a comparison holds, and keep it for the table."""


def distances(found: Tensor, exact: Tensor) -> list[float]:
    """The distance of each image of (B, C, H, W)."""
    assert found.shape == exact.shape
    assert exact.isfinite().all()
    difference = (found.double() - exact.double()).abs().amax((1, 2, 3))
    return (difference / exact.double().abs().amax((1, 2, 3))).tolist()


def widened(network: nn.Module) -> nn.Module:
    """A copy of a network that computes in float64, with the same weights."""
    return copy.deepcopy(network).double()


def compare_networks(
    ours: nn.Module, theirs: nn.Module, x: Tensor, *more: Any, exact: nn.Module | None = None
) -> tuple[Comparison, float]:
    """Evaluate two networks that should be the same.

    Args:
        ours, theirs: in float32.
        x, more: what both are called with.
        exact: the one that is evaluated in float64: ours where the reference cannot.

    Returns:
        The comparison, and the largest distance of ours from the exact one, both in float64.
    """
    with torch.inference_mode():
        result, expected = _evaluate(ours, x, *more), _evaluate(theirs, x, *more)
        truth = _evaluate(widened(theirs if exact is None else exact), x.double(), *more)
        same = _evaluate(widened(ours), x.double(), *more)
    return compare_evaluations(result, expected, truth), max(distances(same, truth))


def _evaluate(network: nn.Module, *given: Any) -> Tensor:
    output = network(*given)
    return output if isinstance(output, Tensor) else output.sample


def compare_evaluations(ours: Tensor, theirs: Tensor, exact: Tensor) -> Comparison:
    """Compare outputs of a network, by the worst image of the batch."""
    return _compare(ours, theirs, exact, EVALUATION, max)


def compare_runs(ours: Tensor, theirs: Tensor, exact: Tensor) -> Comparison:
    """Compare final images, one of each of ``SEEDS``, by the median image."""
    assert len(exact) == len(SEEDS)
    return _compare(ours, theirs, exact, RUN, statistics.median)


def _compare(
    ours: Tensor,
    theirs: Tensor,
    exact: Tensor,
    factor: int,
    summary: Callable[[Sequence[float]], float],
) -> Comparison:
    return Comparison(
        summary(distances(ours, exact)),
        summary(distances(theirs, exact)),
        max(distances(ours, theirs)),
        factor,
    )
