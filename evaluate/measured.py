"""Reads a set of pictures once, and keeps what a comparison needs."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from ..schedulers.errors import UserError
from .base import Features
from .distances import Gaussian
from .features import check_size
from .image_sets import ImageSet, Statistics, statistics_sha256

Size = tuple[int, int]
"""Height and width."""

_BATCH = 64
_SIDE = 64
"""The longest side of the reduced pictures that are kept, in pixels."""


@dataclass(frozen=True)
class Measured:
    """The result of one pass over a set; without pictures and features if it is statistics."""

    images: ImageSet
    size: Size | None
    """The size at which the pictures were measured."""
    fitted: int
    """How many had another size and were resized and cropped to it."""
    digests: tuple[bytes, ...]
    """The sha256 of each picture's pixels and size, before it was fitted."""
    features: Tensor
    """Shape (n, d)."""
    small: Tensor
    """The pictures, reduced to at most 64 pixels on a side: uint8, shape (n, 3, h, w)."""

    def __len__(self) -> int:
        return len(self.features)

    @property
    def sha256(self) -> str:
        """The sha256 of all pictures in their order, or of the statistics."""
        statistics = self.images.statistics
        if not self.digests and statistics is not None:
            return statistics.sha256
        return hashlib.sha256(b"".join(self.digests)).hexdigest()

    def to_statistics(self, features: Features) -> Statistics:
        """Return the statistics of this set, which can replace it as a reference."""
        if self.images.statistics is not None:
            return self.images.statistics
        gaussian = Gaussian.of(self.features)
        sha256 = statistics_sha256(gaussian.mean.numpy(), gaussian.covariance.numpy())
        return Statistics(gaussian, sha256, len(self), features.name)


def measure(
    images: ImageSet,
    features: Features,
    *,
    size: Size | None = None,
    fit: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Read a set, and compute the features of its pictures.

    Args:
        images: at least one picture, or statistics.
        features: the features to compute.
        size: the required size; None uses the first picture's.
        fit: whether pictures of another size are resized (Lanczos) so that they cover it, and
            cropped to their centre, as in training.
        on_progress: called with the number of finished pictures and of all; may raise to cancel.

    Raises:
        UserError: a picture cannot be read, or has another size or one that the features do not
            fit; or the statistics are those of other features.
    """
    _check_statistics(images, features)
    reading = _Reading(images, size, fit)
    found, small = [torch.empty(0, features.count)], [torch.empty(0, dtype=torch.uint8)]
    pictures = reading.read()
    while batch := list(islice(pictures, _BATCH)):
        pixels = torch.stack(batch)
        check_size(features, (pixels.shape[2], pixels.shape[3]), images.name)
        found.append(features(pixels))
        small.append(_reduced(pixels))
        on_progress(len(reading.digests), len(images))
    return Measured(
        images,
        reading.size if reading.digests else None,
        reading.fitted,
        tuple(reading.digests),
        torch.cat(found[1:] or found),
        torch.cat(small[1:] or small),
    )


@dataclass
class _Reading:
    """Reads the pictures of a set one after another, all in the same size."""

    images: ImageSet
    size: Size | None
    fit: bool
    fitted: int = 0
    digests: list[bytes] = field(default_factory=list)

    def read(self) -> Iterator[Tensor]:
        """Yield the pixels of each picture, uint8, shape (3, H, W)."""
        for name, picture in self.images.pictures():
            self.digests.append(_digest(picture))
            own = picture.height, picture.width
            self.size = self.size or own
            if own != self.size:
                self._check(name, own, self.size)
                h, w = self.size
                picture = ImageOps.fit(picture, (w, h), Image.Resampling.LANCZOS)
                self.fitted += 1
            yield torch.from_numpy(np.array(picture)).permute(2, 0, 1)

    def _check(self, name: str, own: Size, size: Size) -> None:
        if not self.fit:
            raise UserError(
                f"{name} in {self.images.name} has {own[0]} x {own[1]} pixels (height x width), "
                f"not {size[0]} x {size[1]}. All pictures of both sets must have the same size. "
                "Remove files that do not belong there, or fit the reference (--fit): its "
                "pictures are then resized and cropped, as in training."
            )


def _check_statistics(images: ImageSet, features: Features) -> None:
    statistics = images.statistics
    if statistics is None:
        return
    count, other = len(statistics.gaussian.mean), statistics.features
    if count != features.count or other not in (None, features.name):
        of = "" if other is None else f" of '{other}'"
        raise UserError(
            f"{images.name} has statistics of {count:,} features{of}, but the features "
            f"'{features.name}' are {features.count:,}. Choose the features that it was made with."
        )


def _digest(picture: Image.Image) -> bytes:
    digest = hashlib.sha256(f"{picture.height} {picture.width}\n".encode())
    digest.update(picture.tobytes())
    return digest.digest()


def _reduced(pixels: Tensor) -> Tensor:
    factor = math.ceil(max(pixels.shape[2:]) / _SIDE)
    if factor == 1 or min(pixels.shape[2:]) < factor:
        return pixels
    return F.avg_pool2d(pixels.float(), factor).round().byte()
