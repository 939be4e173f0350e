"""Measure whether a model copies its training pictures instead of drawing new ones.

The distance from a sample to the nearest training picture means little by itself. So it is compared
with the distances among the training pictures: each one stands for a new picture, and all others
for the training set (leave one out). No picture is really held out of the training: of forty
pictures none can be spared.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from .pictures import Crop, PictureSet

_SIDE: dict[Crop, int] = {"centre": 32, "random": 16}
"""Pictures are compared at about this longer side, in pixels."""
_NEW = 200
"""How many training pictures or crops stand for new ones, at most."""
_OVERLAP = 0.25
"""How much of its area a crop that stands for a new one may share with a training crop."""
_SAME = 1 / 255
"""Two training pictures that are nearer than this are the same picture twice."""
_WORK = 2 * 10**11
"""Multiplications in a search, at most; it is coarser if there are more."""
_VALUES = 2**22
"""Numbers in one tensor, at most."""

_COPY = 1 / 3
_RARE = 0.02
_COPIES = 0.1
_RATIO = 0.5

_Turn = tuple[bool, int]
"""Mirrored or not, then turned by so many quarters."""


@dataclass(frozen=True)
class Copying:
    """How near samples are to the training pictures."""

    ratio: float | None
    """The median distance from a sample to its nearest training picture, divided by that from a new
    picture; None if the training pictures do not show the latter, for example a single one."""
    copies: int
    """The number of samples that are nearer than a third of that distance, and nearer than all but
    2 % of new pictures: simple ones, for example of plain areas, are near to each other anyway."""
    samples: int
    nearest: Tensor
    """Of each sample the nearest training picture or crop, turned as it was nearest: uint8, shape
    (samples, C, H, W)."""

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
            f"and samples are {self.ratio:.2f} times as far from the nearest one as new pictures "
            "would be."
        )
        return (
            f"The model copies training pictures: {figures}"
            if self.is_copying
            else f"The model does not copy training pictures: {figures}"
        )


class CopyGauge:
    """Compares samples with the training pictures, on the CPU.

    A distance is the root mean square of the differences between two reduced pictures, in -1..1.
    Random crops are compared with the crops at all positions.

    Args:
        pictures: what the model is trained on.
        flip: whether the training mirrors them, so that a mirrored picture is a copy too.
        rotate: the same for quarter turns, or for half turns if height and width differ.
    """

    def __init__(self, pictures: PictureSet, *, flip: bool, rotate: bool):
        self.pictures = pictures
        h, w = pictures.size
        quarters = (0,) if not rotate else (0, 1, 2, 3) if h == w else (0, 2)
        self._turns = [(mirror, k) for mirror in (False, True)[: 1 + flip] for k in quarters]
        # What a distance is measured at, and at first searched with: the latter is coarser if there
        # is too much to compare.
        most = math.ceil(max(h, w) / _SIDE[pictures.crop])
        self._factor = max(k for k in range(1, most + 1) if h % k == w % k == 0)
        self._search = self._factor
        while self._work() > _WORK and min(h, w) >= 8 * self._search:
            self._search *= 2

    @torch.no_grad()
    def measure(self, samples: Tensor) -> Copying:
        """Compare samples, shape (k, C, H, W) in -1..1, of the pictures' size and channels.

        The first call also compares the training pictures with each other.
        """
        reduced = F.avg_pool2d(samples.detach().cpu().float().clamp(-1, 1), self._factor)
        distances, places, turns = self._nearest(reduced)
        nearest = [
            _turned_back(_as_bytes(self._crop(place)), turn)
            for place, turn in zip(places, turns, strict=True)
        ]
        ratio, copies = None, 0
        if self._new is not None:
            median, copy = self._new
            ratio = float(distances.median()) / median
            copies = int((distances < copy).sum())
        return Copying(ratio, copies, len(samples), torch.stack(nearest))

    @cached_property
    def _new(self) -> tuple[float, float] | None:
        """The median distance from a new picture to the nearest of the others, and that of a copy.

        Pictures that occur twice are left out: a new picture is none of them. (Crops that are the
        same without an overlap are plain areas, and stay.)
        """
        g = torch.Generator().manual_seed(0)
        n = len(self.pictures)
        order = torch.randperm(n, generator=g).tolist()
        places = []
        for k in range(_NEW if self.pictures.crop == "random" else min(n, _NEW)):
            i = order[k % n]
            top, left = (int(torch.randint(last + 1, (), generator=g)) for last in self._last(i))
            places.append((i, top, left))
        crops = [F.avg_pool2d(_as_floats(self._crop(place)), self._factor) for place in places]
        distances = self._nearest(torch.stack(crops), torch.tensor(places))[0]
        distances = distances[distances.isfinite()]
        if self.pictures.crop == "centre":
            distances = distances[distances > _SAME]
        if len(distances) == 0 or distances.median() <= _SAME:
            return None
        median = float(distances.median())
        return median, min(_COPY * median, float(distances.quantile(_RARE)))

    def _nearest(
        self, queries: Tensor, own: Tensor | None = None
    ) -> tuple[Tensor, list[tuple[int, int, int]], list[_Turn]]:
        """Find the nearest training crop of each query, shape (k, C, h, w), reduced.

        Args:
            own: shape (k, 3), the places that the queries are from; they and what overlaps them is
                left out.

        Returns:
            Distances (inf where nothing was left), places (picture, top, left), and how the query
            was turned to be that near.
        """
        # Turned queries instead of turned training pictures: there are fewer.
        turned = torch.stack([_turned(queries, turn) for turn in self._turns])
        pooled = F.avg_pool2d(turned.flatten(0, 1), self._search // self._factor).flatten(1)
        best = torch.full((len(pooled),), torch.inf)
        where = torch.zeros(len(pooled), 3, dtype=torch.long)
        for vectors, places in self._candidates():
            # |a - b|², less the query's own part. It is rounded, but only finds the candidate.
            scores = vectors.square().sum(1) - 2 * pooled @ vectors.T
            if own is not None:
                scores[self._overlap(own, places).repeat(len(self._turns), 1)] = torch.inf
            lowest, index = scores.min(1)
            nearer = lowest < best
            best[nearer] = lowest[nearer]
            where[nearer] = places[index[nearer]]
        # The query's own part is the same in all of its turns.
        best = best.reshape(len(self._turns), -1)
        turns = best.argmin(0).tolist()
        distances, found = [], []
        for k, turn in enumerate(turns):
            place = where[turn * len(queries) + k].tolist()
            distance, place = self._refined(turned[turn, k], place)
            distances.append(distance if best[turn, k] < torch.inf else math.inf)
            found.append(place)
        return torch.tensor(distances), found, [self._turns[turn] for turn in turns]

    def _candidates(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training crops, reduced, of shape (n, values), and their places, (n, 3)."""
        factor, pixels = self._search, self.pictures.pixels
        h, w = (side // factor for side in self.pictures.size)
        scores = _NEW * len(self._turns)
        at_once = 1
        if self.pictures.crop == "centre":
            at_once = max(1, _VALUES // max(pixels[0].numel(), scores))
        for first in range(0, len(pixels), at_once):
            batch = torch.stack(list(pixels[first : first + at_once]))
            indices = torch.arange(first, first + len(batch))
            bottom, right = self._last(first)
            # Positions that are `factor` apart, from several starts.
            for y in range(0, min(factor, bottom + 1), self._step):
                for x in range(0, min(factor, right + 1), self._step):
                    tops, lefts = (
                        torch.arange(y, bottom + 1, factor),
                        torch.arange(x, right + 1, factor),
                    )
                    reduced = _reduced(batch[:, :, y:, x:], factor)
                    crops = reduced.unfold(2, h, 1).unfold(3, w, 1).permute(0, 2, 3, 1, 4, 5)
                    values = len(batch) * len(lefts) * max(crops[0, 0, 0].numel(), scores)
                    for rows in torch.arange(len(tops)).split(max(1, _VALUES // values)):
                        vectors = crops[:, rows, : len(lefts)].flatten(0, 2).flatten(1)
                        yield vectors, torch.cartesian_prod(indices, tops[rows], lefts)

    def _refined(self, query: Tensor, place: Sequence[int]) -> tuple[float, tuple[int, int, int]]:
        """Return the distance at the best position around a candidate, and that place."""
        i, top, left = place
        h, w = self.pictures.size
        reach = self._step - 1
        bottom, right = self._last(i)
        y, x = max(0, top - reach), max(0, left - reach)
        around = self.pictures.pixels[i][
            :, y : min(bottom, top + reach) + h, x : min(right, left + reach) + w
        ]
        # Every position's means, of which a crop has every factor-th: (C, y, x, h, w).
        k = self._factor
        means = F.avg_pool2d(_as_floats(around), k, stride=1)
        crops = means.unfold(1, h - k + 1, 1).unfold(2, w - k + 1, 1)[..., ::k, ::k]
        distances = (crops - query[:, None, None]).square().mean((0, 3, 4)).sqrt()
        dy, dx = divmod(int(distances.argmin()), distances.shape[1])
        return float(distances.min()), (i, y + dy, x + dx)

    def _overlap(self, own: Tensor, places: Tensor) -> Tensor:
        """Return whether each of ``own`` shares too much with each of ``places``."""
        h, w = self.pictures.size
        i, dy, dx = (own[:, None] - places).abs().unbind(-1)
        return (i == 0) & ((h - dy).clamp(0) * (w - dx).clamp(0) > _OVERLAP * h * w)

    def _crop(self, place: Sequence[int]) -> Tensor:
        i, top, left = place
        h, w = self.pictures.size
        return self.pictures.pixels[i][:, top : top + h, left : left + w]

    def _last(self, i: int) -> tuple[int, int]:
        """Return the last position of a crop in a picture: top and left."""
        height, width = self.pictures.pixels[i].shape[1:]
        return height - self.pictures.size[0], width - self.pictures.size[1]

    @property
    def _step(self) -> int:
        """Pixels between the positions that are searched."""
        return max(1, self._search // 2)

    def _work(self) -> int:
        """Return the multiplications of the search for the nearest of the most queries."""
        h, w = self.pictures.size
        lasts = (self._last(i) for i in range(len(self.pictures)))
        positions = sum(math.prod(last // self._step + 1 for last in pair) for pair in lasts)
        values = self.pictures.channels * (h // self._search) * (w // self._search)
        return positions * values * _NEW * len(self._turns)


def _reduced(batch: Tensor, factor: int) -> Tensor:
    """Return the means of squares of ``factor`` pixels, of some rows at once."""
    rows = max(1, _VALUES // (batch[:, :, 0].numel() * factor)) * factor
    return torch.cat(
        [
            F.avg_pool2d(_as_floats(batch[:, :, top : top + rows]), factor)
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


def _as_floats(pixels: Tensor) -> Tensor:
    """Return pixels, uint8 or already in -1..1, in -1..1."""
    return pixels.float() / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels


def _as_bytes(pixels: Tensor) -> Tensor:
    if pixels.dtype == torch.uint8:
        return pixels
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
