"""The tables of docs/quality.md, printed as Markdown; the text there is written by hand."""

from collections.abc import Iterator, Sequence

from .cells import (
    COLUMNS,
    COSINE,
    COSINE_COLUMNS,
    COSINE_ROWS,
    EXACT_ROWS,
    HALF,
    HALF_COLUMNS,
    HALF_ROWS,
    LONG_COLUMNS,
    LONG_ROWS,
    REFERENCES,
)
from .convergence import LATE_END, SMOOTH_END, measure
from .network import Network
from .quick import order_table
from .results import Cell, Results
from .samplers import ROWS
from .tables import MISSING, Value, curve, evaluations_for, look_up, table, written


def tables(results: Results) -> Iterator[str]:
    """Yield each table with its title; "-" means not measured yet."""
    network = Network("digits-16")
    yield _titled("Order of convergence", order_table(measure(SMOOTH_END), measure(LATE_END)))
    for kind, field, rows, columns in (
        ("sets", "frechet", ROWS, COLUMNS),
        ("sets", "kid", ROWS, COLUMNS),
        ("sets", "frechet", LONG_ROWS, LONG_COLUMNS),
        ("distance", "rms", EXACT_ROWS, COLUMNS),
        ("distance", "median", EXACT_ROWS, COLUMNS),
    ):
        yield _grid(results, network, kind, field, tuple(rows), columns)
    yield _grid(results, Network(COSINE), "sets", "frechet", COSINE_ROWS, COSINE_COLUMNS)
    yield _grid(results, Network(HALF), "sets", "frechet", HALF_ROWS, HALF_COLUMNS)
    yield _agreement(results, network)
    yield _speed_up(results, network)


def _titled(title: str, text: str) -> str:
    return f"{title}\n\n{text}\n"


def _grid(
    results: Results,
    network: Network,
    kind: str,
    field: str,
    rows: Sequence[str],
    columns: Sequence[int],
) -> str:
    digits = 4 if kind == "distance" else 3
    lines = [
        [
            row,
            *(
                written(look_up(results, network, kind, field, row, column), column, digits)
                for column in columns
            ),
        ]
        for row in rows
    ]
    return _titled(
        f"{network.name}, {field} by evaluations", table(["", *map(str, columns)], lines)
    )


def _agreement(results: Results, network: Network) -> str:
    fields = [f"{name}_{end}" for name in ("rms", "rest", "median") for end in ("data", "first")]
    lines = []
    for row, steps in REFERENCES[1:]:
        record = results.get(Cell("reference", network.name, row, steps))
        if record is not None:
            lines.append([f"{row}, {steps} steps", *(f"{record[field]:.4f}" for field in fields)])
    return _titled("How well the converged images agree", table(["", *fields], lines))


def _speed_up(results: Results, network: Network) -> str:
    """Return how many evaluations DDIM needs for the same distance to the converged image."""
    columns = (*COLUMNS, *LONG_COLUMNS)
    fields = ("rms", "median")
    curves = {field: curve(results, network, field, "DDIM, unclipped", columns) for field in fields}
    lines = []
    for row in ("F-PNDM", "PLMS", "S-PNDM"):
        for column in (20, 50):
            found = {f: look_up(results, network, "distance", f, row, column) for f in fields}
            cells = [_needed(value, curves[field]) for field, value in found.items()]
            lines.append([f"{row}, {column}", *(text for cell in cells for text in cell)])
    head = [text for field in fields for text in (field, "DDIM needs", "speed-up")]
    return _titled("Evaluations that DDIM needs for the same distance", table(["", *head], lines))


def _needed(value: Value | None, points: Sequence[Value]) -> list[str]:
    """Return a distance, the evaluations that reach it on a curve, and their ratio."""
    if value is None:
        return [MISSING] * 3
    distance = f"{value.mean:.4f}"
    needed = evaluations_for(value.mean, points)
    if needed is not None:
        return [distance, f"{needed:.0f}", f"{needed / value.evaluations:.1f} times"]
    if not points or value.mean > points[0].mean:
        return [distance, MISSING, MISSING]
    last = points[-1].evaluations
    return [distance, f"> {last}", f"> {last / value.evaluations:.1f} times"]
