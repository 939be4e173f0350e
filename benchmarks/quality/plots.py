"""The plot of docs/quality.md."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image

from .cells import COLUMNS, EXACT_ROWS, LONG_COLUMNS
from .network import Network
from .results import Results
from .samplers import ROWS
from .tables import Value, curve, look_up

mpl.use("Agg")
from matplotlib import pyplot as plt  # after choosing the backend


def curves(results: Results, network: Network, floor: float, path: Path) -> None:
    """Plot both distances against evaluations, with the spread over the seeds."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(16, 5))
    columns = (*COLUMNS, *LONG_COLUMNS)
    colours = {row: plt.get_cmap("tab20")(i) for i, row in enumerate(ROWS)}
    for row in ROWS:
        if ROWS[row].same_as is not None:
            continue
        found = [look_up(results, network, "sets", "frechet", row, column) for column in columns]
        _draw(left, [v for v in found if v is not None], row, colours[row])
        if row in EXACT_ROWS:
            for axes, field in ((middle, "rms"), (right, "median")):
                _draw(axes, curve(results, network, field, row, columns), row, colours[row])
    left.axhline(floor, color="grey", linestyle=":", label="halves of the real digits")
    left.set(ylabel="Fréchet distance to the real digits")
    middle.set(ylabel="distance to the converged image, root mean square")
    right.set(ylabel="distance to the converged image, median image")
    for axes in (left, middle, right):
        axes.set(xscale="log", yscale="log", xlabel="evaluations of the network")
        axes.set_xticks(columns, [str(n) for n in columns])
        axes.minorticks_off()
        if axes.has_data():
            axes.legend(fontsize=7)
    _save(figure, path)


def _draw(axes: Any, points: Sequence[Value], row: str, colour: Any) -> None:
    points = list({v.evaluations: v for v in points}.values())
    if not points:
        return
    x, means = [v.evaluations for v in points], [v.mean for v in points]
    below = [v.mean - min(v.values) for v in points]
    above = [max(v.values) - v.mean for v in points]
    style = "--" if row.startswith("ComfyUI") else "-"
    axes.errorbar(x, means, (below, above), fmt="o", linestyle=style, ms=4, label=row, color=colour)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110)
    plt.close(figure)
    # A palette, for a small file.
    Image.open(picture).convert("RGB").quantize(256).save(path, optimize=True)
