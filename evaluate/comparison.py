"""Compares ranges of generated pictures with a reference: mean and spread, never the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from torch import Tensor

from ..schedulers.errors import UserError
from .base import Features
from .distances import Points, frechet, kernel_distance, precision_recall
from .measured import Measured

FEWEST = 10
"""Minimum pictures in a range, and in the reference, for any figure."""
RANGES = 3
_COMMON = 50_000
_ROUGH = 1000


@dataclass(frozen=True)
class Figure:
    """One figure, measured for each range."""

    key: str
    """In the record."""
    name: str
    values: tuple[float, ...]
    digits: int
    """Decimal places to print."""

    @property
    def mean(self) -> float:
        """The mean of the ranges."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation of the ranges (n - 1 in the denominator); None for one."""
        return stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.{self.digits}f}"
        return f"{self.name}: {self.mean:.{self.digits}f}{spread}"


@dataclass(frozen=True)
class Range:
    """Pictures of one range of seeds."""

    run: Measured
    first: int
    last: int
    """Their indices in the run; ``last`` is exclusive."""

    @property
    def features(self) -> Tensor:
        """The features of its pictures."""
        return self.run.features[self.first : self.last]

    def __len__(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Comparison:
    """What was measured."""

    ranges: tuple[Range, ...]
    reference: Measured
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]
    """What a reader must know about the figures, and why one is missing."""

    @property
    def lines(self) -> list[str]:
        """The figures, with the number of images behind each."""
        count, reference = len(self.ranges[0]), _count(self.reference)
        ranges = f"{len(self.ranges)} ranges" if len(self.ranges) > 1 else "1 range"
        rests_on = f"({ranges} of {count:,} images; reference {reference})"
        return [*(f"{figure} {rests_on}" for figure in self.figures), *self.notes]


def divide(runs: Sequence[Measured], ranges: int) -> tuple[list[Range], list[str]]:
    """Return each run as one range, or one run as several consecutive ones of the same length.

    Args:
        runs: each with pictures.
        ranges: the number of ranges to divide one run into.

    Returns:
        The ranges, and a note if pictures are left over.

    Raises:
        UserError: there are too few pictures, or runs differ in length or are the same.
    """
    notes = []
    if len(runs) == 1:
        (run,) = runs
        each = len(run) // ranges
        found = [Range(run, k * each, (k + 1) * each) for k in range(ranges)]
        if each * ranges < len(run):
            notes.append(
                f"The figures are of the first {each * ranges:,} of {len(run):,} images, since all "
                "ranges have the same length."
            )
    else:
        found = [Range(run, 0, len(run)) for run in runs]
        if len(set(map(len, runs))) > 1:
            raise UserError(
                f"The runs have {', '.join(f'{len(run):,}' for run in runs)} images. Figures for "
                "different numbers of images cannot be averaged. Draw the same number in each."
            )
        if len({run.sha256 for run in runs}) < len(runs):
            raise UserError(
                "Two of the runs have exactly the same images. Draw each run with its own range "
                "of seeds."
            )
    if (least := len(found[0])) < FEWEST:
        raise UserError(
            f"A range has {least} image{'' if least == 1 else 's'}, but figures for fewer than "
            f"{FEWEST} mean nothing. Draw more images, or compare fewer ranges."
        )
    return found, notes


def compare(
    runs: Sequence[Measured], reference: Measured, features: Features, ranges: int = RANGES
) -> Comparison:
    """Compare generated pictures with a reference.

    Args:
        runs: each a range of seeds, or a single one.
        reference: pictures, or statistics, which allow the Fréchet distance only.
        features: the features that they were measured with.
        ranges: the number of ranges to divide a single run into.

    Raises:
        UserError: nothing meaningful can be measured.
    """
    found, notes = divide(runs, ranges)
    figures: list[Figure] = []
    parts, real = [Points.of(part.features) for part in found], Points.of(reference.features)
    refused = _refusal(found, reference, features)
    if refused is None:
        statistics = reference.images.statistics
        gaussian = real.gaussian if statistics is None else statistics.gaussian
        values = [frechet(part.gaussian, gaussian) for part in parts]
        figures.append(Figure("frechet", "Fréchet distance", tuple(values), 3))
        notes += _frechet_notes(found, reference)
    if len(reference):
        if len(reference) < FEWEST:
            raise UserError(
                f"The reference has {len(reference)} images, but figures for fewer than {FEWEST} "
                "mean nothing. Add more."
            )
        values = [kernel_distance(part, real) for part in parts]
        figures.append(Figure("kid", "Kernel distance (KID)", tuple(values), 5))
        pairs = [precision_recall(part, real) for part in parts]
        for name, shares in zip(("Precision", "Recall"), zip(*pairs, strict=True), strict=True):
            figures.append(Figure(name.lower(), name, shares, 3))
    if refused is not None:
        use = "Use the kernel distance (KID), which is unbiased for any number of images."
        if not figures:
            raise UserError(f"{refused} {use} It needs the reference's pictures.")
        notes.append(f"{refused} {use}")
    if len(reference) and min(len(found[0]), len(reference)) < _ROUGH:
        notes.append(
            f"With fewer than {_ROUGH:,} images in a range or in the reference, kernel distance "
            "(which may then be far below 0), precision and recall are rough. Compare more images."
        )
    notes += _set_notes(runs, reference)
    if len(found) == 1:
        notes.append("One range has no spread. Compare several to see what differences mean.")
    return Comparison(tuple(found), reference, tuple(figures), tuple(notes))


def _refusal(ranges: Sequence[Range], reference: Measured, features: Features) -> str | None:
    """Return why the Fréchet distance would mean nothing, or None."""
    statistics = reference.images.statistics
    counts: dict[str, int | None] = {"a range": len(ranges[0])}
    counts["the reference"] = len(reference) if statistics is None else statistics.images
    for of, count in counts.items():
        if count is not None and count <= features.count:
            return (
                f"No Fréchet distance: it needs more images than features ({features.count:,}), "
                f"and {of} has {count:,}."
            )
    return None


def _frechet_notes(ranges: Sequence[Range], reference: Measured) -> list[str]:
    notes = []
    count, statistics = len(ranges[0]), reference.images.statistics
    if count < _COMMON:
        notes.append(
            "Fréchet distances are larger with fewer images, so compare these only with others "
            f"for {count:,}. Papers use {_COMMON:,}."
        )
    if statistics is not None and statistics.features is None:
        notes.append(
            "The file of statistics does not say how its pictures were resized for the network. "
            "The Fréchet distance is meaningful only if there was no antialiasing, as in "
            "guided-diffusion's files, and in clean-fid's with legacy_tensorflow in their names."
        )
    return notes


def _set_notes(runs: Sequence[Measured], reference: Measured) -> list[str]:
    notes = []
    if reference.fitted and (size := reference.size):
        notes.append(
            f"{reference.fitted:,} of {len(reference):,} pictures of the reference had another size"
            f" and were resized and cropped to {size[0]} x {size[1]} (height x width)."
        )
    known = set(reference.digests)
    if shared := sum(digest in known for run in runs for digest in run.digests):
        notes.append(f"{shared:,} of the images are exactly pictures of the reference.")
    drawn = [digest for run in runs for digest in run.digests]
    if repeated := len(drawn) - len(set(drawn)):
        notes.append(f"{repeated:,} of the images repeat another one exactly.")
    return notes


def _count(reference: Measured) -> str:
    statistics = reference.images.statistics
    if len(reference):
        return f"{len(reference):,}" + ("" if statistics is None else " and its statistics")
    assert statistics is not None
    return "unknown" if statistics.images is None else f"{statistics.images:,}"
