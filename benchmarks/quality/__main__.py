"""`python -m benchmarks.quality`: measure what is missing, then print the tables.

The figures are stored in docs/quality.json, cell by cell, so that a stopped run goes on where it
was; docs/quality.md is written by hand from the tables. `--report` measures nothing. `--quick`
measures and prints a small part, in a few minutes.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .convergence import LATE_END, SMOOTH_END, STEPS, measure, order
from .distances import distances, features_of, floor, real_features
from .samplers import (
    EXACT,
    FEW,
    HOST_FEW,
    METHODS,
    ROOT,
    ROWS,
    Network,
    converged,
    draw,
    end_of,
    evaluations,
    steps_within,
)

RESULTS = ROOT / "docs" / "quality.json"
DIGITS, COSINE, HALF = "digits-16", "digits-16-cosine", "digits-16-bfloat16"
SKY = "deep-field"
COLUMNS, LONG_COLUMNS, FEW_COLUMNS = (5, 10, 20, 50, 100), (250, 1000), (5, 8, 10, 15, 20)
SEEDS = (0, 1, 2)
SET_IMAGES, SEEDS_APART = 1797, 10_000
DISTANCE_IMAGES = {DIGITS: 256, COSINE: 128, HALF: 256, SKY: 16}
# All distances, and the other references, are compared with the first one.
REFERENCES = tuple((row, n) for n in (1000, 500) for row in ("F-PNDM", "DDIM, unclipped"))
OURS = ("iPNDM_v, power", "iPNDM_v, optimised")
# The limits of the samplers of few steps, on the models whose own lists start elsewhere, and, for
# less time, on other seeds.
FEW_REFERENCES = {COSINE: ("iPNDM_v, power", 995), SKY: ("iPNDM_v, power", 1000)}
OTHER_SEEDS = ("F-PNDM", 500)
# Kind of measurement, its field, model, rows, columns, seeds.
TABLES: tuple[tuple[str, str, str, Sequence[str], Sequence[int], Sequence[int]], ...] = (
    ("sets", "frechet", DIGITS, ROWS, COLUMNS, SEEDS),
    ("sets", "kid", DIGITS, ROWS, COLUMNS, SEEDS),
    ("sets", "frechet", DIGITS, ("DDPM", "DDIM", "DDIM, unclipped", "F-PNDM"), LONG_COLUMNS, (0,)),
    ("distance", "rms", DIGITS, EXACT, COLUMNS, (0,)),
    ("distance", "median", DIGITS, EXACT, COLUMNS, (0,)),
    ("sets", "frechet", COSINE, ("DDIM", "S-PNDM", "F-PNDM", "PLMS"), COLUMNS[1:], (0,)),
    ("sets", "frechet", HALF, ("DDIM", "F-PNDM"), (20, 50), SEEDS),
    *(("distance", "median", model, FEW, FEW_COLUMNS, (0,)) for model in (DIGITS, COSINE, SKY)),
    *(("distance", "median", model, FEW[:2], (50,), (0,)) for model in (DIGITS, COSINE, SKY)),
    ("distance", "median", DIGITS, ("DDIM, even", *OURS), FEW_COLUMNS, SEEDS),
    ("sets", "frechet", DIGITS, OURS, FEW_COLUMNS, SEEDS),
    ("sets", "kid", DIGITS, OURS, FEW_COLUMNS, SEEDS),
    ("sets", "frechet", HALF, OURS, (10, 20), SEEDS),
    ("sets", "frechet", HALF, OURS[1:], (5, 8), SEEDS),
    ("sets", "frechet", DIGITS, HOST_FEW[:2], (8, 10), (0,)),
)


@dataclass(frozen=True)
class Cell:
    """One measurement; its kind is "sets", "distance" (to the converged images) or "reference"."""

    kind: str
    model: str
    row: str
    steps: int
    seed: int = 0


def read_results() -> dict[Cell, dict[str, Any]]:
    """Return the measured values."""
    records = json.loads(RESULTS.read_text())
    return {Cell(**{n: r[n] for n in Cell.__annotations__}): r for r in records}


def write_results(results: dict[Cell, dict[str, Any]]) -> None:
    """Write one line for each cell."""
    RESULTS.write_text("[\n" + ",\n".join(sorted(map(json.dumps, results.values()))) + "\n]\n")


network = cache(Network)


def find(kind: str, model: str, row: str, column: int, seed: int = 0) -> Cell | None:
    """Return the cell of a table's row and column, with the largest N that fits, or None."""
    row = "ComfyUI euler" if row == "ComfyUI ddim" else row  # without a mask they are the same
    steps = steps_within(row, network(model).config, column)
    return Cell(kind, model, row, steps, seed) if steps else None


def plan() -> Iterator[Cell]:
    """Yield the cells that the tables need, some several times."""
    for row, steps in REFERENCES:
        yield Cell("reference", DIGITS, row, steps)
    for kind, _, model, rows, columns, seeds in TABLES:
        cells = (find(kind, model, row, n, seed) for row in rows for n in columns for seed in seeds)
        yield from filter(None, cells)
    yield from filter(None, [find("distance", DIGITS, "DDIM, unclipped", LONG_COLUMNS[0])])


def measure_cell(cell: Cell) -> dict[str, float]:
    """Draw the images of a cell and compare them."""
    model, first = network(cell.model), cell.seed * SEEDS_APART
    if cell.kind == "sets":
        images = draw(cell.row, model, cell.steps, range(first, first + SET_IMAGES))
        return distances(features_of(images), real_features())
    seeds = range(first, first + DISTANCE_IMAGES[cell.model])
    reference = OTHER_SEEDS if cell.seed else FEW_REFERENCES.get(cell.model, REFERENCES[0])
    best = converged(*reference, model, seeds)
    if cell.kind == "distance":
        return compare(draw(cell.row, model, cell.steps, seeds), best[end_of(cell.row)])
    found = converged(cell.row, cell.steps, model, seeds).items()
    return {f"{n}_{end}": v for end, x in found for n, v in compare(x, best[end]).items()}


def compare(a: Tensor, b: Tensor) -> dict[str, float]:
    """Return the root mean square difference: of all, without the farthest image, of the median."""
    each = (a.double() - b.double()).square().flatten(1).mean(1).sort().values
    found = {"rms": each.mean(), "rest": each[:-1].mean(), "median": each.median()}
    return {name: value.sqrt().item() for name, value in found.items()}


@dataclass(frozen=True)
class Value:
    """One figure of a table: its value for each measured seed, and its evaluations."""

    values: tuple[float, ...]
    steps: int
    evaluations: int

    @property
    def mean(self) -> float:
        return fmean(self.values)


class Report:
    """The tables, as Markdown; "-" means not measured."""

    def __init__(self, results: dict[Cell, dict[str, Any]]):
        self.results = results

    def look_up(self, kind: str, field: str, model: str, row: str, column: int) -> Value | None:
        cells = (find(kind, model, row, column, seed) for seed in SEEDS)
        found = [self.results[cell] for cell in cells if cell in self.results]
        if not found:
            return None
        values = tuple(record[field] for record in found)
        return Value(values, found[0]["steps"], found[0]["evaluations"])

    def curve(self, field: str, row: str) -> list[Value]:
        """Return the figures of a row in ascending order of evaluations, without repetitions."""
        kind = "sets" if field == "frechet" else "distance"
        columns = (*COLUMNS, *LONG_COLUMNS, *FEW_COLUMNS)
        found = [self.look_up(kind, field, DIGITS, row, column) for column in columns]
        for name, steps in REFERENCES[1:]:  # one with fewer steps is a point of the curve too
            if name == row and steps <= 500 and kind == "distance":
                record = self.results[Cell("reference", DIGITS, name, steps)]
                distance = record[f"{field}_{end_of(row)}"]
                found.append(Value((distance,), steps, record["evaluations"]))
        values = {value.evaluations: value for value in found if value is not None}
        return [values[n] for n in sorted(values)]

    def print_all(self) -> None:
        print_orders()
        for name, (mean, spread) in floor().items():
            print(f"Halves of the real digits, {name}: {mean:.3f} ± {spread:.3f}")
        for kind, field, model, rows, columns, _ in TABLES:
            digits = 4 if kind == "distance" else 3
            print_table(
                f"{model}, {field} by evaluations",
                ["", *map(str, columns)],
                (
                    [row, *(written(self.look_up(kind, field, model, row, n), n, digits)
                            for n in columns)]
                    for row in rows
                ),
            )  # fmt: skip
        fields = [
            f"{name}_{end}" for name in ("rms", "rest", "median") for end in ("data", "first")
        ]
        cells = [Cell("reference", DIGITS, row, steps) for row, steps in REFERENCES[1:]]
        print_table(
            "How well the converged images agree",
            ["", *fields],
            ([f"{c.row}, {c.steps} steps", *(f"{self.results[c][f]:.4f}" for f in fields)]
             for c in cells if c in self.results),
        )  # fmt: skip
        pairs = [(row, n) for row in ("F-PNDM", "PLMS", "S-PNDM") for n in (20, 50)]
        print_table(
            "Evaluations that DDIM needs for the same distance",
            ["", *(text for f in ("rms", "median") for text in (f, "DDIM needs", "speed-up"))],
            ([f"{row}, {n}", *self._needed("rms", row, n), *self._needed("median", row, n)]
             for row, n in pairs),
        )  # fmt: skip

    def _needed(self, field: str, row: str, column: int) -> list[str]:
        """Return a distance, the evaluations of DDIM that reach it, and their ratio."""
        value = self.look_up("distance", field, DIGITS, row, column)
        points = self.curve(field, "DDIM, unclipped")
        if value is None or not points or value.mean > points[0].mean:
            return ["-"] * 3
        more, needed = "> ", float(points[-1].evaluations)
        for left, right in pairwise(points):
            if left.mean >= value.mean >= right.mean:  # interpolated on log-log scales
                share = math.log(left.mean / value.mean) / math.log(left.mean / right.mean)
                needed = left.evaluations * (right.evaluations / left.evaluations) ** share
                more = ""
                break
        ratio = needed / value.evaluations
        return [f"{value.mean:.4f}", f"{more}{needed:.0f}", f"{more}{ratio:.1f} times"]


def written(value: Value | None, column: int, digits: int) -> str:
    """Format a figure with its spread, and with N if it is not the column's."""
    if value is None:
        return "-"
    spread = f" ± {stdev(value.values):.{digits}f}" if len(value.values) > 1 else ""
    steps = "" if value.steps == column else f" (N = {value.steps})"
    return f"{value.mean:.{digits}f}{spread}{steps}"


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    print(f"\n{title}\n", *("| " + " | ".join(line) + " |" for line in lines), sep="\n")


def print_orders() -> None:
    """Print errors and fitted orders, for runs that end where eps is smooth, or near the data."""
    smooth, late = measure(SMOOTH_END), measure(LATE_END)
    print_table(
        "Order of convergence, mixture of Gaussians, float64",
        ["method", *(f"N = {n}" for n in STEPS), "order", "order down to 0.001 T"],
        (
            [
                m,
                *(f"{e:.2g}" for e in smooth[m]),
                f"{order(smooth[m]):.2f}",
                f"{order(late[m]):.2f}",
            ]
            for m in smooth
        ),
    )


def print_quick() -> None:
    """Measure and print the cases that take a few minutes."""
    print_orders()
    seeds, model, columns = range(32), network(DIGITS), COLUMNS[:-1]
    best = converged("F-PNDM", 500, model, seeds)
    rows = []
    for row in ("DDIM, unclipped", *METHODS):
        line = [row]
        for column in columns:
            steps = steps_within(row, model.config, column)
            found = None
            if steps is not None:
                images = draw(row, model, steps, seeds)
                found = Value((compare(images, best[end_of(row)])["rms"],), steps, column)
            line.append(written(found, column, 4))
        rows.append(line)
    title = "Distance to the converged image (F-PNDM, 500 steps) by evaluations, 32 digits, rms"
    print_table(title, ["", *map(str, columns)], rows)


def main() -> int:
    """Parse the command line, measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.quick:
        print_quick()
        return 0
    from .plots import plot

    results = read_results()
    missing = [] if given.report else [c for c in dict.fromkeys(plan()) if c not in results]
    for cell in tqdm(missing, disable=not missing):
        count = evaluations(cell.row, network(cell.model).config, cell.steps)
        results[cell] = {**vars(cell), "evaluations": count, **measure_cell(cell)}
        write_results(results)
    report = Report(results)
    report.print_all()
    plot(
        report.curve, floor()["frechet"][0], (*COLUMNS, *LONG_COLUMNS), RESULTS.with_suffix(".png")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
