"""The cells of the tables, most informative for their time first."""

from collections.abc import Iterator, Sequence

from .network import FOLDERS, Network
from .results import Cell
from .samplers import ROWS

COLUMNS = (5, 10, 20, 50, 100)
LONG_COLUMNS = (250, 1000)
LONG_ROWS = ("DDPM", "DDIM", "DDIM, unclipped", "F-PNDM")
SEEDS = (0, 1, 2)
COSINE = "digits-16-cosine"
COSINE_ROWS = ("DDIM", "S-PNDM", "F-PNDM", "PLMS")
COSINE_COLUMNS = (10, 20, 50, 100)
HALF = "digits-16-bfloat16"
HALF_ROWS = ("DDIM", "F-PNDM")
HALF_COLUMNS = (20, 50)

SET_IMAGES = 1797
DISTANCE_IMAGES = 256
# All distances, and the other references, are compared with the first one.
REFERENCES = (
    ("F-PNDM", 1000),
    ("DDIM, unclipped", 1000),
    ("F-PNDM", 500),
    ("DDIM, unclipped", 500),
)
EXACT_ROWS = tuple(name for name, row in ROWS.items() if row.is_exact)


def find(kind: str, network: Network, row: str, column: int, seed: int = 0) -> Cell | None:
    """Return the cell of a table's row and column, with the largest N that fits, or None."""
    steps = ROWS[row].steps_within(network.config, column)
    return Cell(kind, network.name, row, steps, seed) if steps else None  # type: ignore[arg-type]


def plan() -> list[Cell]:
    """Return all cells, in the order in which to measure them."""
    return list(dict.fromkeys(_in_order()))


def _in_order() -> Iterator[Cell]:
    network = Network("digits-16")
    rows = tuple(name for name, row in ROWS.items() if row.same_as is None)
    references = [Cell("reference", network.name, row, steps) for row, steps in REFERENCES]
    yield from _table("sets", network, rows, COLUMNS[:2])
    yield references[0]
    yield from _table("distance", network, EXACT_ROWS, COLUMNS)
    yield from _table("distance", network, ("DDIM, unclipped",), LONG_COLUMNS[:1])
    yield references[1]
    yield from _table("sets", network, rows, COLUMNS[2:3])
    yield from references[2:]
    yield from _table("sets", network, rows, COLUMNS[3:])
    if (FOLDERS[COSINE] / "model_index.json").exists():
        yield from _table("sets", Network(COSINE), COSINE_ROWS, COSINE_COLUMNS)
    for seed in SEEDS:
        yield from _table("sets", Network(HALF), HALF_ROWS, HALF_COLUMNS, seed)
    for seed in SEEDS[1:]:
        yield from _table("sets", network, rows, COLUMNS, seed)
    yield from _table("sets", network, LONG_ROWS, LONG_COLUMNS)


def _table(
    kind: str, network: Network, rows: Sequence[str], columns: Sequence[int], seed: int = 0
) -> Iterator[Cell]:
    for column in columns:
        for row in rows:
            cell = find(kind, network, row, column, seed)
            if cell is not None:
                yield cell
