"""Noise between two noises, or on a loop through several."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .errors import ScheduleError

Ease = Literal["smooth", "even"]
"""Whether a walk slows down at its keys, or keeps an even speed."""

_PARALLEL = 1e-6
"""If the sine of the angle is below this, a straight line replaces the arc."""


def slerp(first: Tensor, second: Tensor, part: float) -> Tensor:
    """Return the point at ``part`` of the arc between two noises (Shoemake 1985).

    The norm changes evenly from the first's to the second's, so the noise between two standard
    normal noises has the same strength; on the straight line it would be weaker.

    Args:
        first, second: one image each, of the same shape.
        part: 0..1; at 0 the result is ``first``, at 1 ``second``, bit for bit.
    """
    if part <= 0 or part >= 1:
        return (first if part <= 0 else second).clone()
    a, b = first.double(), second.double()
    norms = a.norm(), b.norm()
    if not norms[0] or not norms[1]:
        return torch.lerp(a, b, part).to(first)
    a, b = a / norms[0], b / norms[1]
    angle = torch.acos((a * b).sum().clamp(-1, 1))
    if angle.sin() < _PARALLEL:
        direction = torch.lerp(a, b, part)
    else:
        direction = (((1 - part) * angle).sin() * a + (part * angle).sin() * b) / angle.sin()
    return (torch.lerp(*norms, part) * direction).to(first)


@dataclass(frozen=True)
class Loop:
    """A closed path through ``keys`` noises in ``frames`` steps; each key is a frame.

    Attributes:
        keys: K, at least 2.
        frames: F, at least K.
        ease: how its speed changes.

    Raises:
        ScheduleError: there are too few keys or frames.
    """

    keys: int
    frames: int
    ease: Ease = "smooth"

    def __post_init__(self) -> None:
        if self.keys < 2:
            raise ScheduleError(f"A walk needs at least 2 keys, not {self.keys}.")
        if self.frames < self.keys:
            raise ScheduleError(
                f"A walk through {self.keys} keys needs at least {self.keys} frames, not "
                f"{self.frames}."
            )

    def place(self, frame: int) -> tuple[int, int, float]:
        """Return the keys on both sides of a frame, and its position between them, 0..1."""
        key = next(k for k in reversed(range(self.keys)) if self._frame_of(k) <= frame)
        start, end = self._frame_of(key), self._frame_of(key + 1)
        part = (frame - start) / (end - start)
        if self.ease == "smooth":
            part *= part * (3 - 2 * part)
        return key, (key + 1) % self.keys, part

    def _frame_of(self, key: int) -> int:
        return key * self.frames // self.keys
