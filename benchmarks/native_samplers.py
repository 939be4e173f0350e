"""Which of ComfyUI's samplers and schedulers draw digits: `python -m benchmarks.native_samplers`.

Every sampler with every scheduler that a real host lists in KSampler draws the same images with the
bundled model, which are judged against the digits that it was trained on. What was measured is kept
in runs/native_samplers.json, so that the same command goes on where it was stopped, and is written
as a table into docs/native_samplers.md.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from devtools.client import Client, Graph
from devtools.environment import ROOT
from devtools.host import Host

IMAGES = 100
STEPS = 20
SEED = 0
MORE_STEPS = 100
"""What does not work with ``STEPS`` is tried again with so many."""

_KEPT = ROOT / "runs" / "native_samplers.json"
_PICTURES = ROOT / "runs" / "native_samplers"
_MOST_SECONDS = 240


@dataclass(frozen=True)
class Cell:
    """One sampler with one scheduler: what became of it."""

    sampler: str
    scheduler: str
    steps: int
    images: int
    share: float = 0.0
    """Of the images whose five nearest real digits are all the same digit."""
    distance: float = 0.0
    """Median Euclidean distance to the nearest real digit, in the model's range -1..1."""
    kinds: int = 0
    """How many different digits there are among the images."""
    seconds: float = 0.0
    error: str = ""

    @property
    def key(self) -> str:
        return f"{self.sampler}/{self.scheduler}/{self.steps}"


def prompt(sampler: str, scheduler: str, steps: int, images: int, prefix: str) -> Graph:
    """The graph of a cell: its images as one npy file named ``prefix``."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "1": ("UnconditionalUNetLoader", {"model_name": "digits-16", "dtype": "float32"}),
        "2": (
            "UnconditionalEmptyLatent",
            {"model": ["1", 0], "width": 0, "height": 0, "batch_size": images},
        ),
        "3": ("UnconditionalConditioning", {}),
        "4": (
            "KSampler",
            {
                "model": ["1", 0],
                "seed": SEED,
                "steps": steps,
                "cfg": 1.0,
                "sampler_name": sampler,
                "scheduler": scheduler,
                "positive": ["3", 0],
                "negative": ["3", 0],
                "latent_image": ["2", 0],
                "denoise": 1.0,
            },
        ),
        "5": (
            "UnconditionalImageOutput",
            {"samples": ["4", 0], "filename_prefix": prefix, "format": "npy", "scale": 1},
        ),
    }
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


class Judge:
    """Compares images with the real digits."""

    def __init__(self) -> None:
        from comfyui_unconditional.training.digits import digits
        from comfyui_unconditional.training.judge import as_saved

        images, self._labels = digits()
        self._images = as_saved(images)

    def __call__(self, images: np.ndarray) -> dict[str, float]:
        """Return ``Cell``'s measures of images in 0..1, shape (n, 16, 16, 1)."""
        from comfyui_unconditional.training.judge import as_saved, compare

        samples = as_saved(torch.from_numpy(images).movedim(-1, 1) * 2 - 1)
        found = compare(samples, self._images, self._labels)
        return {
            "share": found.undivided,
            "distance": found.distances.median,
            "kinds": sum(share > 0 for share in found.shares),
        }

    def real(self) -> tuple[float, float]:
        """Return the share and the median distance of the real digits, leave-one-out."""
        from comfyui_unconditional.training.judge import compare

        found = compare(self._images[:1], self._images, self._labels)
        return found.undivided_real, found.distances_real.median


def draw(client: Client, host: Host, cell: Cell, judge: Judge) -> Cell:
    """Run a cell in the host and return it with what was measured."""
    prefix = cell.key.replace("/", "-")
    # Some samplers choose their own number of steps, and could go on without an end.
    timer = threading.Timer(_MOST_SECONDS, client.post, args=("/interrupt", {}))
    timer.start()
    start = time.monotonic()
    run = client.run(prompt(cell.sampler, cell.scheduler, cell.steps, cell.images, prefix))
    seconds = time.monotonic() - start
    timer.cancel()
    found: dict[str, Any] = {**asdict(cell), "seconds": round(seconds, 1)}
    if run.interrupted:
        return Cell(**{**found, "error": f"stopped after {_MOST_SECONDS} s"})
    if run.error:
        return Cell(**{**found, "error": str(run.error["exception_message"]).strip()})
    path = next(host.output.glob(f"{prefix}_*.npy"))
    images = np.load(path)
    path.unlink()
    if not np.isfinite(images).all():
        return Cell(**{**found, "error": "not finite"})
    _PICTURES.mkdir(parents=True, exist_ok=True)
    np.save(_PICTURES / f"{prefix}.npy", (images * 255).round().astype(np.uint8))
    return Cell(**{**found, **judge(images)})


def load() -> dict[str, Cell]:
    """Return what was measured before."""
    if not _KEPT.is_file():
        return {}
    cells = (Cell(**fields) for fields in json.loads(_KEPT.read_text())["cells"])
    return {cell.key: cell for cell in cells}


def keep(cells: dict[str, Cell], facts: dict[str, Any]) -> None:
    """Write what was measured, whole or not at all."""
    _KEPT.parent.mkdir(exist_ok=True)
    unfinished = _KEPT.with_suffix(".unfinished")
    content = {**facts, "cells": [asdict(cell) for cell in cells.values()]}
    unfinished.write_text(json.dumps(content, indent=1))
    unfinished.replace(_KEPT)


def choices(client: Client, name: str) -> list[str]:
    """Return what the host's KSampler offers for one of its combos."""
    return client.get("/object_info/KSampler")["KSampler"]["input"]["required"][name][0]


def planned(client: Client, images: int, cells: dict[str, Cell]) -> Iterator[Cell]:
    """Yield the cells to draw; which are tried with more steps shows when the others are done."""
    from .native_samplers_table import works

    pairs = [
        (sampler, scheduler)
        for sampler in choices(client, "sampler_name")
        for scheduler in choices(client, "scheduler")
    ]
    for pair in pairs:
        yield Cell(*pair, STEPS, images)
    for pair in pairs:
        first = cells[Cell(*pair, STEPS, images).key]
        if not works(first) and not first.error:
            yield Cell(*pair, MORE_STEPS, images)


def main() -> int:
    """Measure what is missing and write the table."""
    from .native_samplers_table import write

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES, help="in each cell")
    parser.add_argument("--write", action="store_true", help="only write the table again")
    given = parser.parse_args()
    if not given.write:
        judge, cells = Judge(), load()
        # Two threads that wait for each other cost far more than they give on a busy machine.
        environment = {"OMP_NUM_THREADS": "1"}
        with (
            tempfile.TemporaryDirectory() as folder,
            Host(Path(folder), environment=environment) as host,
        ):
            client = Client(host.url)
            share, distance = judge.real()
            facts = {
                "date": time.strftime("%Y-%m-%d"),
                "comfyui": client.get("/system_stats")["system"]["comfyui_version"],
                "real": {"share": share, "distance": distance},
                "samplers": choices(client, "sampler_name"),
                "schedulers": choices(client, "scheduler"),
            }
            with tqdm(unit="cell") as bar:
                for cell in planned(client, given.images, cells):
                    bar.set_description(cell.key)
                    if cell.key not in cells:
                        cells[cell.key] = draw(client, host, cell, judge)
                        keep(cells, facts)
                    bar.update()
            client.close()
    write(json.loads(_KEPT.read_text()), [*load().values()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
