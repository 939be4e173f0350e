"""How good a digit model is, compared with the digits that it was trained on."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..schedulers.pndm import PNDM
from ..schedulers.span import Stretch
from .digits import UNET, digits
from .sampling import draw, read_model

SAMPLES = 500
STEPS = 50
_BATCH = 100
_NEIGHBOURS = 5

# Less than one vote in total, and each more than the sum of those after it: if two digits have the
# same number of votes, the one with the nearest neighbour wins.
_TIE_BREAK = 0.5 ** torch.arange(2, 2 + _NEIGHBOURS)


@dataclass(frozen=True)
class Distances:
    """Euclidean distances of images to their nearest real digit, in the model's range -1..1."""

    smallest: float
    fifth_percentile: float
    median: float

    @classmethod
    def of(cls, nearest: Tensor) -> "Distances":
        """Summarise distances, shape (n,)."""
        fifth, median = nearest.quantile(torch.tensor([0.05, 0.5])).tolist()
        return cls(nearest.min().item(), fifth, median)

    def __str__(self) -> str:
        return (
            f"smallest {self.smallest:.2f}, 5th percentile {self.fifth_percentile:.2f}, "
            f"median {self.median:.2f}"
        )


@dataclass(frozen=True)
class Judgement:
    """The results. Real digits are measured leave-one-out: each against all others."""

    unanimous: float
    """Share of the samples whose five nearest real digits are all the same digit."""
    unanimous_real: float
    """The same for the real digits."""
    shares: tuple[float, ...]
    """Share of the samples whose five neighbours are mostly 0, 1, … 9."""
    distances: Distances
    distances_real: Distances

    @property
    def rarest(self) -> int:
        """The digit with the smallest share."""
        return min(range(len(self.shares)), key=self.shares.__getitem__)

    def __str__(self) -> str:
        shares = ", ".join(f"{digit}: {share:.1%}" for digit, share in enumerate(self.shares))
        return "\n".join(
            (
                f"Unanimous vote of the {_NEIGHBOURS} nearest real digits: {self.unanimous:.1%} "
                f"(real digits, leave-one-out: {self.unanimous_real:.1%})",
                f"Share of each digit: {shares}",
                f"Rarest: {self.rarest}, {self.shares[self.rarest]:.1%}",
                f"Distance to the nearest real digit: {self.distances}",
                f"The same for real digits, leave-one-out: {self.distances_real}",
            )
        )


def judge(folder: Path, samples: int = SAMPLES) -> Judgement:
    """Sample images (F-PNDM, 50 steps, the first seeds) and compare them with real digits.

    Raises:
        ValueError: the model cannot be loaded, or does not generate 16x16 grey images.
    """
    images, labels = digits()
    return compare(sample(folder, samples), as_saved(images), labels)


def sample(folder: Path, samples: int = SAMPLES) -> Tensor:
    """Return the model's images for the first seeds, float32, shape (samples, 1, 16, 16).

    The values are those of a saved picture, in -1..1.

    Raises:
        ValueError: the model cannot be loaded, or does not generate 16x16 grey images.
    """
    network, config = read_model(folder)
    shape, expected = (network.config.in_channels, *network.config.size), (1, *UNET.size)
    if shape != expected:
        raise ValueError(
            f"The model in {folder} generates images of {_described(shape)}. Only digit models, of "
            f"{_described(expected)}, can be judged."
        )
    sampler = PNDM.over(config, Stretch(STEPS))
    return as_saved(draw(network, sampler, shape, range(samples), _BATCH))


def as_saved(x: Tensor) -> Tensor:
    """Return images as in a saved picture: clamped to -1..1, one of 256 values."""
    return ((x.clamp(-1, 1) / 2 + 0.5) * 255).round() / 255 * 2 - 1


def compare(samples: Tensor, images: Tensor, labels: Tensor) -> Judgement:
    """Compare samples with real digits.

    Args:
        samples: shape (n, 1, 16, 16), in -1..1.
        images: real digits, shape (m, 1, 16, 16), in -1..1.
        labels: their digits, 0..9, shape (m,).
    """
    to_real = _distances(samples, images)
    among_real = _distances(images, images).fill_diagonal_(torch.inf)  # none to itself
    votes, votes_among_real = _votes(to_real, labels), _votes(among_real, labels)
    return Judgement(
        unanimous=_unanimous(votes),
        unanimous_real=_unanimous(votes_among_real),
        shares=tuple((votes.argmax(1).bincount(minlength=10) / len(samples)).tolist()),
        distances=Distances.of(to_real.amin(1)),
        distances_real=Distances.of(among_real.amin(1)),
    )


def unanimous_votes(samples: Tensor, images: Tensor, labels: Tensor, *, without: Tensor) -> float:
    """Return the share of samples whose five nearest real digits are all the same digit.

    Args:
        samples: shape (n, 1, 16, 16), in -1..1.
        images, labels: real digits, as for ``compare``.
        without: for each sample the index of a real digit to leave out, shape (n,).
    """
    distances = _distances(samples, images)
    distances[torch.arange(len(samples)), without] = torch.inf
    return _unanimous(_votes(distances, labels))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Return Euclidean distances, shape (len(a), len(b))."""
    # By differences: the faster way, with matrix products, rounds small distances away.
    return torch.cdist(a.flatten(1), b.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def _votes(distances: Tensor, labels: Tensor) -> Tensor:
    """Return the number of votes for each digit, shape (n, 10), with ties broken."""
    nearest = labels[distances.topk(_NEIGHBOURS, largest=False).indices]
    return (F.one_hot(nearest, 10) * (1 + _TIE_BREAK)[:, None]).sum(1)


def _unanimous(votes: Tensor) -> float:
    return ((votes > 0).sum(1) == 1).float().mean().item()


def _described(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{height} x {width} pixels and {channels} channel{'s' if channels > 1 else ''}"
