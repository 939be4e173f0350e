"""The plots and pictures of the report."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from comfyui_unconditional.training.judge import as_saved
from PIL import Image

from .cells import COLUMNS, EXACT_ROWS, LONG_COLUMNS
from .convergence import Convergence
from .network import Network
from .results import Results
from .samplers import ROWS
from .tables import Value, curve, look_up

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend is chosen before

_PICTURES = 4
_GAP = 2
_GREY = 0.8


def orders(found: Sequence[Convergence], path: Path) -> None:
    """Plot error against steps, with the fitted orders."""
    figure, axes = plt.subplots(figsize=(6, 4))
    for one in found:
        # Dashed, since PLMS lies upon F-PNDM.
        style = "o--" if one.method == "PLMS" else "o-"
        axes.loglog(one.steps, one.errors, style, label=f"{one.method}: order {one.order:.2f}")
    axes.set(xlabel="steps N", ylabel="root mean square error at 0.05 T")
    axes.set_xticks(found[0].steps, [str(n) for n in found[0].steps], minor=False)
    axes.minorticks_off()
    axes.legend()
    _save(figure, path)


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


def strips(path: Path) -> None:
    """Draw some digits with each sampler; a column that none of its lists of steps fits is grey."""
    network = Network("digits-16")
    drawn: dict[tuple[str, int], np.ndarray | None] = {}
    rows = []
    for name, row in ROWS.items():
        source = row.same_as or name
        for column in COLUMNS:
            if (source, column) not in drawn:
                drawn[source, column] = _strip(network, source, column)
        rows.append([drawn[source, column] for column in COLUMNS])
    figure, axes = plt.subplots(
        len(rows), len(COLUMNS), figsize=(11, 0.62 * len(rows)), squeeze=False
    )
    empty = np.full((16, _PICTURES * (16 + _GAP) - _GAP), _GREY)
    for i, (row, groups) in enumerate(zip(ROWS, rows, strict=True)):
        for j, images in enumerate(groups):
            cell = axes[i][j]
            cell.imshow(empty if images is None else images, cmap="gray", vmin=0, vmax=1)
            cell.set(xticks=[], yticks=[])
            if i == 0:
                cell.set_title(f"{COLUMNS[j]} evaluations", fontsize=8)
            if j == 0:
                cell.set_ylabel(row, rotation=0, ha="right", va="center", fontsize=8)
            for side in cell.spines.values():
                side.set_visible(False)
    _save(figure, path, colours=24)


def _strip(network: Network, row: str, column: int) -> np.ndarray | None:
    steps = ROWS[row].steps_within(network.config, column)
    if steps is None:
        return None
    found = ROWS[row].images(network, steps, range(_PICTURES), _PICTURES)
    images = as_saved(found)[:, 0] / 2 + 0.5
    gap = np.ones((images.shape[1], _GAP))
    parts = [part for image in images.numpy() for part in (image, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _save(figure: Any, path: Path, colours: int = 256) -> None:
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110)
    plt.close(figure)
    # A palette, for a small file.
    Image.open(picture).convert("RGB").quantize(colours).save(path, optimize=True)
