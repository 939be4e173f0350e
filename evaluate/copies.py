"""Whether generated pictures are copies from the reference, and a sheet of the nearest pairs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..pictures.contact_sheet import make_sheet
from ..training.copying import CopyGauge, Copying
from ..training.picture_set import PictureSet, as_floats

PAIRS = 32
"""The maximum number of pairs on the sheet."""
_COLUMNS = 4
"""Pairs in a row."""
_SIDE = 64
"""Pictures smaller than this are enlarged on the sheet, by a whole factor."""
_AT_ONCE = 4096


@dataclass(frozen=True)
class Copies:
    """The nearest pictures of the reference to generated ones."""

    copying: Copying
    drawn: Tensor
    """The pictures that were compared, uint8, shape (n, 3, h, w)."""

    @classmethod
    def find(cls, drawn: Tensor, reference: Tensor) -> "Copies":
        """Find the nearest picture of the reference, also mirrored, for each generated one.

        Args:
            drawn, reference: uint8, shapes (n, 3, h, w) and (m, 3, h, w).
        """
        gauge = CopyGauge(PictureSet.of_tensor(reference), flip=True, rotate=False)
        parts = [gauge.measure(as_floats(part)) for part in drawn.split(_AT_ONCE)]
        ratios = torch.cat([part.ratios for part in parts])
        return cls(Copying.of(ratios, torch.cat([part.nearest for part in parts])), drawn)

    def __str__(self) -> str:
        found = self.copying
        if found.ratio is None:
            return "Copies cannot be counted, because all pictures of the reference are the same."
        return (
            f"Copies: {found.copies:,} of {found.samples:,} images are nearly the same as a picture"
            f" of the reference; the median distance to the nearest one is {found.ratio:.2f} times "
            "that of a new picture."
        )

    def sheet(self) -> Tensor:
        """Return the nearest pairs: each generated picture to the left of the reference's.

        Returns:
            Shape (1, H, W, 3), in 0..1.
        """
        nearest = self.copying.ratios.nan_to_num(torch.inf).argsort(stable=True)[:PAIRS]
        pairs = torch.stack([self.drawn[nearest], self.copying.nearest[nearest]], 1).flatten(0, 1)
        images = pairs.movedim(1, -1).float() / 255
        factor = max(1, _SIDE // max(images.shape[1:3]))
        images = images.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        return make_sheet(images, 2 * _COLUMNS)[None]
