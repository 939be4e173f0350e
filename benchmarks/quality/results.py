"""The results: one JSON line per finished cell, so a stopped run can be continued."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .network import ROOT

RUNS = ROOT / "runs" / "quality"
LINES = RUNS / "cells.jsonl"
COMMITTED = ROOT / "docs" / "quality.json"

Kind = Literal["sets", "distance", "reference"]
Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        kind: "sets" (Fréchet and kernel distance of a whole set of images), "distance" (to the
            converged images) or "reference" (how well the converged images agree).
        model: its name.
        row: the sampler.
        steps: N.
        seed: selects the noise; each image of a cell has its own.
    """

    kind: Kind
    model: str
    row: str
    steps: int
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of its files."""
        row = self.row.replace(", ", "-").replace(" ", "-")
        return f"{self.model}_{row}_{self.steps}_{self.seed}"


class Results:
    """Finished cells: the committed ones and those measured on this machine."""

    def __init__(self) -> None:
        self._records: dict[Cell, Record] = {}
        if COMMITTED.exists():
            for record in json.loads(COMMITTED.read_text()):
                self._keep(record)
        if LINES.exists():
            for line in LINES.read_text().splitlines():
                self._keep(json.loads(line))

    def get(self, cell: Cell) -> Record | None:
        """Return the measurements, or None."""
        return self._records.get(cell)

    def add(self, cell: Cell, **measured: Any) -> None:
        """Add a finished cell, also on disk."""
        record = asdict(cell) | measured
        RUNS.mkdir(parents=True, exist_ok=True)
        with LINES.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self._keep(record)

    def commit(self) -> None:
        """Write all cells into the committed file, one per line."""
        lines = sorted(json.dumps(record) for record in self._records.values())
        COMMITTED.write_text("[\n" + ",\n".join(lines) + "\n]\n")

    def _keep(self, record: Record) -> None:
        fields = ("kind", "model", "row", "steps", "seed")
        self._records[Cell(**{name: record[name] for name in fields})] = record
