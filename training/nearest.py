"""Finds the training picture, or the crop of one, that is nearest to an image."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from .picture_set import Crop, PictureSet, as_floats

_SIDE: dict[Crop, int] = {"centre": 32, "random": 16}
"""Pictures are compared at about this longer side, in pixels."""
_OVERLAP = 0.25
"""The maximum part of its area that a crop may share with another one."""
_WORK = 5 * 10**10
"""Maximum multiplications in a search for 16 images; beyond that, the search is coarser."""
_VALUES = 2**21
"""Maximum number of values in one tensor."""

_Turn = tuple[bool, int]
"""Whether mirrored, then the number of quarter turns."""

Place = tuple[int, int, int]
"""The index of a picture, and the top and left of a crop in it."""


@dataclass(frozen=True)
class Match:
    """The nearest training picture to an image."""

    distance: float
    """The root mean square of the differences of the reduced pictures, in -1..1. inf if nothing was
    left to compare with."""
    place: Place
    turn: _Turn
    """How the image was oriented for this distance."""


class Search:
    """Compares images with all training pictures, or with their crops at all positions.

    They are compared at about 32 pixels on the longer side, crops at 16, on the CPU.

    Args:
        pictures: what the model is trained on.
        flip: whether to compare mirrored pictures too.
        rotate: the same for quarter turns, or for half turns if height and width differ.
    """

    def __init__(self, pictures: PictureSet, *, flip: bool, rotate: bool):
        self.pictures = pictures
        h, w = pictures.size
        quarters = (0,) if not rotate else (0, 1, 2, 3) if h == w else (0, 2)
        self._turns = [(mirror, k) for mirror in (False, True)[: 1 + flip] for k in quarters]
        self._same = _first_of_each(pictures.digests)
        # Distances are measured at one reduction. Candidates are searched for at the same one, or
        # at a coarser one if there is too much to compare.
        most = math.ceil(max(h, w) / _SIDE[pictures.crop])
        self._factor = max(k for k in range(1, most + 1) if h % k == w % k == 0)
        self._coarse = self._factor
        while self._work() > _WORK and min(h, w) >= 8 * self._coarse:
            self._coarse *= 2

    def nearest(self, images: Iterable[Tensor], own: Sequence[Place] | None = None) -> list[Match]:
        """Return what is nearest to each image.

        Args:
            images: of the pictures' size and channels, each (C, H, W), uint8, or float32 in -1..1.
            own: the places that the images are from. These, crops that share more than a quarter of
                the area with them, and the same places in other copies of a picture are left out.
        """
        reduced = [F.avg_pool2d(as_floats(image), self._factor) for image in images]
        # The images are turned instead of the training pictures, because there are fewer.
        turned = torch.cat([_turned(torch.stack(reduced), turn) for turn in self._turns])
        queries = F.avg_pool2d(turned, self._coarse // self._factor).flatten(1)
        best = torch.full((len(queries),), torch.inf)
        where = torch.zeros(len(queries), 3, dtype=torch.long)
        for vectors, places in self._candidates(len(queries)):
            # |a - b|², less the image's own part. It is rounded, but only finds a candidate.
            scores = vectors.square().sum(1) - 2 * queries @ vectors.T
            if own is not None:
                overlap = self._overlap(torch.tensor(own), places)
                scores.masked_fill_(overlap.repeat(len(self._turns), 1), torch.inf)
            lowest, index = scores.min(1)
            nearer = lowest < best
            best[nearer] = lowest[nearer]
            where[nearer] = places[index[nearer]]
        # An image's own part is the same in all of its turns.
        matches = []
        for k, turn in enumerate(best.reshape(len(self._turns), -1).argmin(0).tolist()):
            row = turn * len(reduced) + k
            i, top, left = where[row].tolist()
            distance, place = self._refined(turned[row], (i, top, left))
            if best[row] == torch.inf:
                distance = math.inf
            matches.append(Match(distance, place, self._turns[turn]))
        return matches

    def picture(self, match: Match) -> Tensor:
        """Return the picture that was found, uint8 of shape (C, H, W), oriented like the image."""
        pixels = _turned_back(self.crop(match.place), match.turn)
        if pixels.dtype == torch.uint8:
            return pixels
        return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    def crop(self, place: Place) -> Tensor:
        """Return the crop at a place, in the pictures' own dtype."""
        i, top, left = place
        h, w = self.pictures.size
        return self.pictures.pixels[i][:, top : top + h, left : left + w]

    def last(self, i: int) -> tuple[int, int]:
        """Return the last position of a crop in picture ``i``: top and left."""
        height, width = self.pictures.pixels[i].shape[1:]
        return height - self.pictures.size[0], width - self.pictures.size[1]

    def _candidates(self, queries: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training crops, reduced, of shape (n, values), and their places, (n, 3).

        As many at once as there is memory for, to be compared with ``queries`` images.
        """
        factor, pixels = self._coarse, self.pictures.pixels
        h, w = (side // factor for side in self.pictures.size)
        at_once = 1
        if self.pictures.crop == "centre":
            at_once = max(1, _VALUES // max(pixels[0].numel(), queries))
        for first in range(0, len(pixels), at_once):
            batch = torch.stack(pixels[first : first + at_once])
            indices = torch.arange(first, first + len(batch))
            bottom, right = self.last(first)
            # Positions that are `factor` apart, from several starts.
            starts = (range(0, min(factor, last + 1), self._step) for last in (bottom, right))
            for y, x in product(*starts):
                tops = torch.arange(y, bottom + 1, factor)
                lefts = torch.arange(x, right + 1, factor)
                reduced = _reduced(batch[:, :, y:, x:], factor)
                crops = reduced.unfold(2, h, 1).unfold(3, w, 1).permute(0, 2, 3, 1, 4, 5)
                numbers = len(batch) * len(lefts) * max(crops[0, 0, 0].numel(), queries)
                for rows in torch.arange(len(tops)).split(max(1, _VALUES // numbers)):
                    vectors = crops[:, rows, : len(lefts)].flatten(0, 2).flatten(1)
                    yield vectors, torch.cartesian_prod(indices, tops[rows], lefts)

    def _refined(self, image: Tensor, place: Place) -> tuple[float, Place]:
        """Return the exact distance at the best place around a candidate, and that place."""
        i, top, left = place
        h, w = self.pictures.size
        reach = self._step - 1
        bottom, right = self.last(i)
        y, x = max(0, top - reach), max(0, left - reach)
        around = self.pictures.pixels[i][
            :, y : min(bottom, top + reach) + h, x : min(right, left + reach) + w
        ]
        # Every position's means, of which a crop has every factor-th: (C, y, x, h, w).
        k = self._factor
        means = F.avg_pool2d(as_floats(around), k, stride=1)
        crops = means.unfold(1, h - k + 1, 1).unfold(2, w - k + 1, 1)[..., ::k, ::k]
        distances = (crops - image[:, None, None]).square().mean((0, 3, 4)).sqrt()
        dy, dx = divmod(int(distances.argmin()), distances.shape[1])
        return float(distances.min()), (i, y + dy, x + dx)

    def _overlap(self, own: Tensor, places: Tensor) -> Tensor:
        """Return whether each of ``own`` shares too much with each of ``places``: (k, n)."""
        h, w = self.pictures.size
        is_same = self._same[own[:, :1]] == self._same[places[:, 0]]
        dy, dx = (own[:, None, 1:] - places[:, 1:]).abs().unbind(-1)
        return is_same & ((h - dy).clamp(0) * (w - dx).clamp(0) > _OVERLAP * h * w)

    @property
    def _step(self) -> int:
        """Pixels between the positions that are searched."""
        return max(1, self._coarse // 2)

    def _work(self) -> int:
        """Return the number of multiplications in a search for 16 images."""
        h, w = self.pictures.size
        lasts = (self.last(i) for i in range(len(self.pictures)))
        positions = sum(math.prod(last // self._step + 1 for last in pair) for pair in lasts)
        values = self.pictures.channels * (h // self._coarse) * (w // self._coarse)
        return positions * values * 16 * len(self._turns)


def _first_of_each(digests: Iterable[bytes]) -> Tensor:
    """Return for each picture the index of the first one with the same digest."""
    first: dict[bytes, int] = {}
    return torch.tensor([first.setdefault(digest, i) for i, digest in enumerate(digests)])


def _reduced(batch: Tensor, factor: int) -> Tensor:
    """Return the means of squares of ``factor`` pixels; some rows at once save memory."""
    rows = max(1, _VALUES // (batch[:, :, 0].numel() * factor)) * factor
    return torch.cat(
        [
            F.avg_pool2d(as_floats(batch[:, :, top : top + rows]), factor)
            for top in range(0, batch.shape[2] - factor + 1, rows)
        ],
        2,
    )


def _turned(images: Tensor, turn: _Turn) -> Tensor:
    mirror, quarters = turn
    return torch.rot90(images.flip(-1) if mirror else images, quarters, (-2, -1))


def _turned_back(images: Tensor, turn: _Turn) -> Tensor:
    mirror, quarters = turn
    images = torch.rot90(images, -quarters, (-2, -1))
    return images.flip(-1) if mirror else images
