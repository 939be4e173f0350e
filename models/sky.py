"""How good a model of skies is, compared with the picture that it was trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..schedulers.ddim import DDIM
from ..schedulers.ddpm import DDPM
from ..schedulers.pndm import PNDM
from ..schedulers.span import Stretch
from ..training.copying import CopyGauge, Copying
from ..training.picture_set import PictureSet
from .sampling import draw, read_model

SamplerName = Literal["PNDM", "DDIM", "DDPM"]
SAMPLERS: dict[SamplerName, type[PNDM | DDIM | DDPM]] = {"PNDM": PNDM, "DDIM": DDIM, "DDPM": DDPM}
SKIES = 256
STEPS = 50
SIDE = 64

MEAN_LIMIT = 3.0
"""How far a channel's mean may be from the data's, of 255."""
DEVIATION_LIMIT = 0.15
"""How far a channel's standard deviation may be from the data's, relative to it."""
OBJECTS_LIMIT = 1.5
"""The factor by which the number of bright objects may differ from the data's."""

# An object is a connected region of more than 10 pixels with a luminance above 64 of 255: five
# times the mean of the Hubble picture; 4 % of its pixels are above it.
_LUMINANCE = torch.tensor([0.299, 0.587, 0.114])
_BRIGHT = 64
_LARGEST_SPECK = 10
# Between neighbours in a row or a column, but not from one picture to the next.
_CONNECTED = np.stack([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))])

# An object at the edge counts in several crops, so drawn skies are compared with crops of their
# size: all crops whose corner is on a grid of this many pixels.
_STRIDE = 16
_BATCH = 16


@dataclass(frozen=True)
class Look:
    """Statistics of a set of pictures; values in 0..255."""

    means: tuple[float, ...]
    """The means of the pixels of each channel."""
    deviations: tuple[float, ...]
    """The standard deviations of the pixels of each channel."""
    objects: float
    """Bright objects per million pixels."""

    @classmethod
    def of(cls, pictures: Tensor) -> "Look":
        """Measure pictures, uint8, shape (n, 3, h, w)."""
        pixels = pictures.movedim(1, -1).reshape(-1, 3).float()
        bright = (pictures.movedim(1, -1).float() @ _LUMINANCE > _BRIGHT).numpy()
        labelled: Any = ndimage.label(bright, _CONNECTED)
        sizes = np.bincount(labelled[0].ravel())[1:]
        return cls(
            tuple(pixels.mean(0).tolist()),
            tuple(pixels.std(0, correction=0).tolist()),
            float((sizes > _LARGEST_SPECK).sum()) / bright.size * 1e6,
        )


@dataclass(frozen=True)
class Judgement:
    """Drawn skies, and crops of the picture of the same size."""

    drawn: Look
    real: Look
    copying: tuple[Copying, Copying]
    """How close the skies are to the picture, as a whole and in quarters."""

    @property
    def farthest_mean(self) -> float:
        """The largest difference between means of a channel, of 255."""
        return max(abs(a - b) for a, b in zip(self.drawn.means, self.real.means, strict=True))

    @property
    def farthest_deviation(self) -> float:
        """The largest difference between deviations of a channel, relative to the picture's."""
        pairs = zip(self.drawn.deviations, self.real.deviations, strict=True)
        return max(abs(a / b - 1) for a, b in pairs)

    @property
    def objects_factor(self) -> float:
        """The factor between the numbers of bright objects, at least 1."""
        few, many = sorted((self.drawn.objects, self.real.objects))
        return many / few if few else float("inf")

    @property
    def is_good(self) -> bool:
        """Whether all three are within their limits."""
        return (
            self.farthest_mean <= MEAN_LIMIT
            and self.farthest_deviation <= DEVIATION_LIMIT
            and self.objects_factor <= OBJECTS_LIMIT
        )

    def __str__(self) -> str:
        drawn, real, (wholes, quarters) = self.drawn, self.real, self.copying
        return "\n".join(
            (
                f"Mean RGB of 255: {_listed(drawn.means)} (picture: {_listed(real.means)}); "
                f"farthest {self.farthest_mean:.1f}, at most {MEAN_LIMIT:g} is good",
                f"Standard deviation: {_listed(drawn.deviations)} (picture: "
                f"{_listed(real.deviations)}); farthest {self.farthest_deviation:.1%}, at most "
                f"{DEVIATION_LIMIT:.0%} is good",
                f"Bright objects of more than {_LARGEST_SPECK} pixels: {drawn.objects:.0f} per "
                f"megapixel (picture: {real.objects:.0f}); a factor of {self.objects_factor:.2f}, "
                f"at most {OBJECTS_LIMIT:g} is good",
                f"Whole skies: {wholes}",
                f"Quarters of skies: {quarters}",
            )
        )


def judge(
    folder: Path,
    picture: Tensor,
    *,
    sampler: SamplerName = "PNDM",
    steps: int = STEPS,
    skies: int = SKIES,
    device: str = "cpu",
) -> Judgement:
    """Draw skies of 64 x 64 pixels, seeds 0 to ``skies`` - 1, and compare them with the picture.

    Args:
        folder: of the model.
        picture: uint8, shape (1, 3, H, W).
        sampler, steps: to draw with.
        skies: how many to draw.
        device: to draw on.

    Raises:
        ValueError: the model cannot be loaded, or does not draw RGB.
    """
    network, config = read_model(folder, device)
    channels = network.config.in_channels
    if channels != 3:
        raise ValueError(
            f"The model in {folder} has {channels} channel{'s' if channels > 1 else ''}. Only "
            "models of skies, with 3 (RGB), can be judged."
        )
    run = SAMPLERS[sampler].over(config, Stretch(steps))
    x = draw(network, run, (3, SIDE, SIDE), range(skies), _BATCH)
    return compare(to_bytes(x), picture)


def compare(skies: Tensor, picture: Tensor) -> Judgement:
    """Compare skies with all crops of the picture that have their size.

    Args:
        skies: uint8, shape (n, 3, h, w).
        picture: uint8, shape (1, 3, H, W), not smaller.
    """
    h, w = skies.shape[-2:]
    crops = picture[0].unfold(1, h, _STRIDE).unfold(2, w, _STRIDE).permute(1, 2, 0, 3, 4)
    quarters = torch.cat([half for rows in skies.chunk(2, 2) for half in rows.chunk(2, 3)])
    return Judgement(
        Look.of(skies),
        Look.of(crops.reshape(-1, 3, h, w)),
        (_copying(skies, picture), _copying(quarters, picture)),
    )


def _copying(parts: Tensor, picture: Tensor) -> Copying:
    """Compare parts of skies with all crops of the picture, mirrored and turned too."""
    crops = PictureSet([picture[0]], (parts.shape[-2], parts.shape[-1]), "random")
    return CopyGauge(crops, flip=True, rotate=True).measure(parts.float() / 127.5 - 1)


def to_bytes(x: Tensor) -> Tensor:
    """Return images as in a saved picture: from -1..1 to uint8, values beyond clamped."""
    return ((x.clamp(-1, 1) / 2 + 0.5) * 255).round().byte()


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)
