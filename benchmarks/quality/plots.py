"""The plot of docs/quality.md."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image

from .samplers import EXACT, FEW, ROWS

mpl.use("Agg")
from matplotlib import pyplot as plt  # after choosing the backend

_PANELS = {
    "frechet": "Fréchet distance to the real digits",
    "rms": "distance to the converged image, root mean square",
    "median": "distance to the converged image, median image",
}
_FEW = [row for row in FEW if row.startswith("iPNDM_v")]


def plot(
    curve: Callable[[str, str], list[Any]], floor: float, columns: tuple[int, ...], path: Path
) -> None:
    """Plot the distances against evaluations, with the spread over the seeds.

    Args:
        curve: gives the figures of a field and a row, in ascending order of evaluations.
        floor: the Fréchet distance between halves of the real digits.
        columns: ticks of the evaluations.
        path: of the PNG file.
    """
    figure, panels = plt.subplots(1, 3, figsize=(16, 5))
    panels[0].axhline(floor, color="grey", linestyle=":", label="halves of the real digits")
    for axes, (field, label) in zip(panels, _PANELS.items(), strict=True):
        for number, row in enumerate((*ROWS, *_FEW)):
            points, exact = curve(field, row), row in EXACT or row in _FEW
            if row == "ComfyUI ddim" or (field != "frechet" and not exact) or not points:
                continue
            means = [p.mean for p in points]
            below = [p.mean - min(p.values) for p in points]
            above = [max(p.values) - p.mean for p in points]
            axes.errorbar(
                [p.evaluations for p in points],
                means,
                (below, above),
                **{"fmt": "o", "ms": 4, "label": row, "color": plt.get_cmap("tab20")(number % 20)},
                linestyle="--" if row.startswith("ComfyUI") else "-",
                linewidth=3 if row in _FEW else 1.5,
            )
        axes.set(xscale="log", yscale="log", xlabel="evaluations of the network", ylabel=label)
        axes.set_xticks(columns, [str(n) for n in columns])
        axes.minorticks_off()
        axes.legend(fontsize=7)
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110)
    # A palette, for a small file.
    Image.open(picture).convert("RGB").quantize(256).save(path, optimize=True)
