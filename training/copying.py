"""Measure whether a model copies its training pictures instead of drawing new ones.

The distance from a sample to its nearest training picture means little by itself: simple pictures
are close to each other anyway. So it is divided by the distance from that training picture to the
nearest other one, the comparison behind the authenticity of Alaa et al. 2022 ("How Faithful is your
Synthetic Data?"). For a new picture the two are similar, and the ratio is about 1; for a copy it is
about 0. Each training picture thus stands for a new one, with all others as the training set. None
is really held out of the training, because few pictures cannot spare any.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .nearest import Search
from .picture_set import PictureSet

_SAME = 1 / 255
"""Training pictures that are closer than this count as this far apart, in -1..1."""
_COPY = 1 / 3
_COPIES = 0.1
_RATIO = 0.5


@dataclass(frozen=True)
class Copying:
    """How close samples are to the training pictures."""

    ratio: float | None
    """The distance from a sample to its nearest training picture, divided by the distance from
    there to the nearest other training picture; the median over all samples. None if there is no
    other."""
    copies: int
    """The number of samples for which this ratio is below a third."""
    samples: int
    nearest: Tensor
    """For each sample the nearest training picture or crop, oriented like the sample: uint8, shape
    (samples, C, H, W)."""
    ratios: Tensor
    """For each sample this ratio, nan if there is none: shape (samples,)."""

    @classmethod
    def of(cls, ratios: Tensor, nearest: Tensor) -> "Copying":
        """Count the samples with these ratios and nearest training pictures."""
        known = ratios[ratios.isfinite()]
        return cls(
            ratio=float(known.median()) if len(known) else None,
            copies=int((known < _COPY).sum()),
            samples=len(ratios),
            nearest=nearest,
            ratios=ratios,
        )

    @property
    def is_copying(self) -> bool:
        """Whether the ratio is below 0.5, or at least 10 % of the samples, and two, are copies."""
        if self.ratio is None:
            return False
        return self.ratio < _RATIO or self.copies >= max(2, _COPIES * self.samples)

    def __str__(self) -> str:
        if self.ratio is None:
            return (
                "Whether the model copies cannot be measured, because there are no two different "
                "training pictures to compare."
            )
        figures = (
            f"{self.copies} of {self.samples} samples are nearly the same as a training picture, "
            f"and the distance to the nearest one is {self.ratio:.2f} times that of a new picture."
        )
        return (
            f"The model copies training pictures: {figures}"
            if self.is_copying
            else f"The model does not copy training pictures: {figures}"
        )


class CopyGauge:
    """Compares samples with the training pictures, or with their crops at all positions.

    Args:
        pictures: what the model is trained on.
        flip: whether the training mirrors them, so that a mirrored picture is a copy too.
        rotate: the same for quarter turns, or for half turns if height and width differ.
    """

    def __init__(self, pictures: PictureSet, *, flip: bool, rotate: bool):
        self.pictures = pictures
        self._search = Search(pictures, flip=flip, rotate=rotate)

    @torch.no_grad()
    def measure(self, samples: Tensor) -> Copying:
        """Compare samples, shape (k, C, H, W) in -1..1, with the pictures' size and channels.

        Everything is computed on the CPU.
        """
        matches = self._search.nearest(samples.detach().cpu().float().clamp(-1, 1))
        places = [match.place for match in matches]
        others = self._search.nearest(map(self._search.crop, places), own=places)
        ratios = [
            match.distance / max(other.distance, _SAME) if other.distance < torch.inf else torch.nan
            for match, other in zip(matches, others, strict=True)
        ]
        nearest = torch.stack([self._search.picture(match) for match in matches])
        return Copying.of(torch.tensor(ratios), nearest)
