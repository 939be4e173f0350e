"""Look up the results and format them as Markdown tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

import numpy as np

from .cells import REFERENCES, SEEDS, find
from .network import Network
from .results import Cell, Results
from .samplers import ROWS

MISSING = "-"


@dataclass(frozen=True)
class Value:
    """One figure of a table: its value for each measured seed, and its evaluations."""

    values: tuple[float, ...]
    steps: int
    evaluations: int

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return fmean(self.values)

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; 0 for one."""
        return stdev(self.values) if len(self.values) > 1 else 0.0


def look_up(
    results: Results, network: Network, kind: str, field: str, row: str, column: int
) -> Value | None:
    """Return the figure of a sampler within a number of evaluations; None if not measured."""
    row = ROWS[row].same_as or row
    cells = [find(kind, network, row, column, seed) for seed in SEEDS]
    records = [results.get(cell) for cell in cells if cell is not None]
    found = [record for record in records if record is not None]
    if not found:
        return None
    values = tuple(record[field] for record in found)
    return Value(values, found[0]["steps"], found[0]["evaluations"])


def written(value: Value | None, column: int, digits: int = 3) -> str:
    """Format a figure for a table: with its spread, and with N if it is not the column's."""
    if value is None:
        return MISSING
    text = f"{value.mean:.{digits}f}"
    if len(value.values) > 1:
        text += f" ± {value.spread:.{digits}f}"
    return text if value.steps == column else f"{text} (N = {value.steps})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def curve(
    results: Results, network: Network, field: str, row: str, columns: Iterable[int]
) -> list[Value]:
    """Return the distances to the converged image in ascending order of evaluations."""
    found = [look_up(results, network, "distance", field, row, column) for column in columns]
    values = {value.evaluations: value for value in found if value is not None}
    # A reference with fewer steps is a point of the curve too.
    for name, steps in REFERENCES[1:]:
        record = results.get(Cell("reference", network.name, name, steps))
        if name == row and record is not None and steps <= 500:
            distance = record[f"{field}_{ROWS[row].end}"]
            values[record["evaluations"]] = Value((distance,), steps, record["evaluations"])
    return [values[n] for n in sorted(values)]


def evaluations_for(distance: float, points: Sequence[Value]) -> float | None:
    """Return how many evaluations reach a distance, interpolated on log-log scales.

    None if the distance is outside the measured points.
    """
    for left, right in pairwise(points):
        if left.mean >= distance >= right.mean:
            share = np.log(left.mean / distance) / np.log(left.mean / right.mean)
            return float(left.evaluations * (right.evaluations / left.evaluations) ** share)
    return None
