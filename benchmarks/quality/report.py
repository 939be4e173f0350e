"""Write docs/quality.md, with its plots, from what has been measured so far."""

import datetime
import os
import platform
from collections.abc import Sequence

import matplotlib as mpl
import torch

from ..machine import processor
from . import claims, plots
from .cells import (
    COLUMNS,
    COSINE,
    COSINE_COLUMNS,
    COSINE_ROWS,
    DISTANCE_IMAGES,
    EXACT_ROWS,
    HALF,
    HALF_COLUMNS,
    HALF_ROWS,
    LONG_COLUMNS,
    LONG_ROWS,
    REFERENCES,
    SET_IMAGES,
    plan,
)
from .convergence import LATE_END, SMOOTH_END, Convergence, measure
from .distances import HALVES, floor
from .features import accuracy, load_classifier
from .network import FOLDERS, Network
from .quick import order_table
from .results import COMMITTED, Cell, Results
from .samplers import ROWS
from .tables import MISSING, Value, curve, evaluations_for, look_up, table, written

REPORT = COMMITTED.with_suffix(".md")
_DISTANCES = {"rms": "root mean square", "median": "median image"}
_AGREEMENT = {
    "rms": "root mean square",
    "rest": "without the farthest image",
    "median": "median image",
}
_ENDS = {"data": "at the data", "first": "at timestep 0"}


def write_report(results: Results) -> None:
    """Write the report, its plots and its pictures into ``docs``."""
    network = Network("digits-16")
    smooth, late = measure(SMOOTH_END), measure(LATE_END)
    floors = floor()
    plots.orders(smooth, REPORT.parent / "quality-orders.png")
    plots.curves(results, network, floors["frechet"][0], REPORT.parent / "quality.png")
    plots.strips(REPORT.parent / "quality-strips.png")
    sections = (
        _head(results),
        _orders(smooth, late),
        _sets(results, network, floors),
        _cosine(results),
        _half_precision(results, network),
        _distances(results, network),
        _strips(),
        "## Which of the paper's claims hold here\n\n"
        + "\n".join(f"- {line}" for line in claims.sentences(results, network, smooth)),
    )
    REPORT.write_text("\n\n".join(section for section in sections if section) + "\n")


def _head(results: Results) -> str:
    cells = plan()
    done = sum(results.get(cell) is not None for cell in cells)
    text = (
        "# Quality against evaluations\n\n"
        "Made by `python -m benchmarks.quality` (the `bench` extra), which measures what is "
        "missing and writes this page; the figures are in `quality.json`.\n\n"
        f"{datetime.date.today().isoformat()}; {processor()}, {os.cpu_count()} cores; Python "
        f"{platform.python_version()}, torch {torch.__version__}, matplotlib {mpl.__version__}. "
        "The networks compute on the CPU, in float32 where nothing else is said."
    )
    if done < len(cells):
        text += (
            f"\n\n**{done} of {len(cells)} cells are measured**; the others are {MISSING} below. "
            "The same command goes on with them."
        )
    return text


def _orders(smooth: list[Convergence], late: list[Convergence]) -> str:
    errors = {one.method: one.errors for one in smooth}
    apart = max(abs(p / f - 1) for p, f in zip(errors["PLMS"], errors["F-PNDM"], strict=True))
    return (
        "## Order of convergence\n\n"
        "The data are three Gaussians in the plane (standard deviation 0.3), whose noise is known "
        "in closed form; alphas_cumprod is continuous (the linear schedule), everything is "
        "float64. 64 points go from T to 0.05 T in N equal steps; the figures are the root mean "
        "square error against the solution of the probability flow by DOP853 (tolerance 1e-12). "
        "The order is the slope of the fit over the four N.\n\n"
        f"{order_table(smooth, late)}\n\n"
        "F-PNDM and PLMS differ in their first three steps alone. Those are near T, where x hardly "
        f"changes, so their errors agree within {apart:.0e} of themselves.\n\n"
        "Down to 0.001 T the orders of the pseudo methods are lower: eps is not smooth in "
        "t near the data, since its scale sqrt(1 - alphas_cumprod) goes like the root of t there. "
        "A run over a model's own table never gets nearer than one training step.\n\n"
        "![Error against steps](quality-orders.png)"
    )


def _sets(results: Results, network: Network, floors: dict[str, tuple[float, float]]) -> str:
    text = (
        "## Fréchet and kernel distance\n\n"
        f"{SET_IMAGES:,} images of digits-16 per cell, against the {SET_IMAGES:,} real digits, in "
        "the 32 features of a fixed classifier "
        f"(`python -m benchmarks.quality.features`, {accuracy(load_classifier()):.1%} of the 360 "
        "digits right that it was not trained on; features scaled to a mean variance of 1). "
        "Columns are evaluations of the network. Each cell has the largest number of steps N "
        "that divides 1000 and fits the column, named where it is another; with N = 2 a run "
        "starts at t = 500, where pure noise is no valid image. ± is the standard deviation over "
        "the seeds, where more than one is measured.\n\n"
        f"Floor: random halves of the real digits ({SET_IMAGES // 2} each, {HALVES} times) are "
        f"{floors['frechet'][0]:.3f} ± {floors['frechet'][1]:.3f} apart (Fréchet) and "
        f"{floors['kid'][0]:.3f} ± {floors['kid'][1]:.3f} (kernel). With half as many images, "
        "chance alone makes the Fréchet distance about twice as large, so that cells can lie below "
        "its floor.\n"
    )
    for field, name in (("frechet", "Fréchet distance"), ("kid", "Kernel distance (KID)")):
        rows = [
            [row, *(_cell(results, network, field, row, column) for column in COLUMNS)]
            for row in ROWS
        ]
        text += f"\n{table([name, *map(str, COLUMNS)], rows)}\n"
    rows = [
        [row, *(_cell(results, network, "frechet", row, column) for column in LONG_COLUMNS)]
        for row in LONG_ROWS
    ]
    return (
        f"{text}\n{table(['Fréchet distance', *map(str, LONG_COLUMNS)], rows)}\n\n"
        "DDIM with clipping gets worse with many steps. Each step sets the predicted image back "
        "into its range but keeps the noise that was predicted with it, as diffusers' "
        "DDIMScheduler does (with 1000 steps it gives the same images, bit for bit); so each takes "
        "away all that was clipped, however short it is. Neither DDIM without clipping nor DDPM, "
        "in which a shorter step moves less towards the clipped image, does so.\n\n"
        "ComfyUI's samplers get the noise levels of the same timesteps, as from this pack's "
        "Timesteps node; with the schedulers of KSampler, which place them otherwise, they were "
        "not measured. Its `ddim` is, without a mask, its `euler`, bit for bit; that is measured "
        "once.\n\n"
        "![Distances against evaluations](quality.png)"
    )


def _cell(results: Results, network: Network, field: str, row: str, column: int) -> str:
    return written(look_up(results, network, "sets", field, row, column), column)


def _cosine(results: Results) -> str:
    text = (
        "## Another variance schedule\n\n"
        "The same network, data and script with the cosine schedule: "
        "`python -m comfyui_unconditional.training digits --beta-schedule squaredcos_cap_v2`.\n\n"
    )
    if not (FOLDERS[COSINE] / "model_index.json").exists():
        return text + "That model is not there yet, so nothing is measured."
    network = Network(COSINE)
    rows = [
        [row, *(_cell(results, network, "frechet", row, column) for column in COSINE_COLUMNS)]
        for row in COSINE_ROWS
    ]
    return text + table(["Fréchet distance", *map(str, COSINE_COLUMNS)], rows)


def _half_precision(results: Results, network: Network) -> str:
    half = Network(HALF)
    rows: list[list[str]] = []
    beyond: list[str] = []
    for row in HALF_ROWS:
        for column in HALF_COLUMNS:
            whole, less = (
                look_up(results, n, "sets", "frechet", row, column) for n in (network, half)
            )
            cells = [written(whole, column), written(less, column), MISSING, MISSING]
            if whole is not None and less is not None and len(whole.values) == len(less.values):
                cells[2] = f"{abs(less.mean - whole.mean):.3f}"
                cells[3] = f"{whole.spread:.3f}"
                if abs(less.mean - whole.mean) > whole.spread:
                    beyond.append(f"{row} with N = {whole.steps}")
            rows.append([f"{row}, {column}", *cells])
    head = ["Fréchet distance", "float32", "bfloat16", "difference", "spread of float32's seeds"]
    return (
        "## bfloat16\n\n"
        "The network computes in bfloat16, the sampler in float32, from the same noise.\n\n"
        + table(head, rows)
        + "\n\nThe difference is larger than the spread of the seeds with: "
        + (", ".join(beyond) or "none of them")
        + ". The weights of four evaluations (eq. 12) multiply independent rounding errors by 3.7; "
        "after steps as long as those of N = 10 they show as fine noise, 0.05 root mean "
        "square in the median image, with N = 40 0.01."
    )


def _distances(results: Results, network: Network) -> str:
    text = (
        "## Distance to the converged image\n\n"
        f"Root mean square difference of pixels in -1 .. 1, unclipped, of {DISTANCE_IMAGES} digits "
        "from the same noise, to what the sampler comes to with more and more steps: F-PNDM with "
        "1000 steps, at the end of the sampler itself (PNDM ends at the noise of timestep 0, the "
        "others at the data). A few images come out quite different from the converged one, and "
        "weigh most in the mean square; so the median of the images' own differences stands beside "
        "it."
        "\n\n"
    )
    text += _agreement(results, network)
    for field, name in _DISTANCES.items():
        rows = [
            [
                row,
                *(
                    written(look_up(results, network, "distance", field, row, column), column, 4)
                    for column in COLUMNS
                ),
            ]
            for row in EXACT_ROWS
        ]
        text += table([name, *map(str, COLUMNS)], rows) + "\n\n"
    return text + _speed_up(results, network)


def _agreement(results: Results, network: Network) -> str:
    lines = []
    for row, steps in REFERENCES[1:]:
        record = results.get(Cell("reference", network.name, row, steps))
        if record is not None:
            lines.append(
                [
                    f"{row}, {steps} steps",
                    *(f"{record[f'{f}_{e}']:.4f}" for f in _AGREEMENT for e in _ENDS),
                ]
            )
    if not lines:
        return "How certain the converged images are is not measured yet.\n\n"
    head = ["differs from F-PNDM, 1000 steps"]
    head += [f"{name}, {end}" for name in _AGREEMENT.values() for end in _ENDS.values()]
    return (
        f"The floor, how far the converged images are certain:\n\n{table(head, lines)}\n\n"
        "Noise near the border between two digits becomes the one with many steps and the other "
        "with few: that of seed 165 is a 2 for F-PNDM and, with up to 1000 steps, a 3 for DDIM. "
        "The root mean square shows it, the median does not.\n\n"
    )


def _speed_up(results: Results, network: Network) -> str:
    columns = (*COLUMNS, *LONG_COLUMNS)
    curves = {f: curve(results, network, f, "DDIM, unclipped", columns) for f in _DISTANCES}
    rows = []
    for row in ("F-PNDM", "PLMS", "S-PNDM"):
        for column in (20, 50):
            cells = [f"{row}, {column}"]
            for field, points in curves.items():
                value = look_up(results, network, "distance", field, row, column)
                cells += [MISSING] * 3 if value is None else _needed(value, points)
            rows.append(cells)
    head = ["evaluations"]
    for name in _DISTANCES.values():
        head += [name, "DDIM needs", "speed-up"]
    return (
        "How many evaluations DDIM (unclipped) needs for the same distance, between its measured "
        "points on log-log scales; > is more than the most that are measured:\n\n"
        + table(head, rows)
    )


def _needed(value: Value, points: Sequence[Value]) -> list[str]:
    """Return a distance, the evaluations that reach it on a curve, and how many times as many."""
    distance = f"{value.mean:.4f}"
    needed = evaluations_for(value.mean, points)
    if needed is not None:
        return [distance, f"{needed:.0f}", f"{needed / value.evaluations:.1f} times"]
    if not points or value.mean > points[0].mean:
        return [distance, MISSING, MISSING]
    most = points[-1].evaluations
    return [distance, f"> {most}", f"> {most / value.evaluations:.1f} times"]


def _strips() -> str:
    return (
        "## Pictures\n\n"
        "The same noise (seeds 0 to 3) with each sampler, by evaluations. F-PNDM and FON "
        "fit 5 and 10 evaluations with N = 2 only.\n\n"
        "![Digits by sampler and evaluations](quality-strips.png)"
    )
