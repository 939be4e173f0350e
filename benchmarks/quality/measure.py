"""Measure one cell: generate its images and compare them."""

import time
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from .cells import DISTANCE_IMAGES, REFERENCES, SET_IMAGES
from .converged import converge
from .distances import features_of, frechet, kernel_distance, real_features
from .network import Network
from .results import RUNS, Cell, Record
from .samplers import ROWS

_SEEDS_APART = 10_000


def images_of(cell: Cell) -> int:
    """Return how many images a cell needs."""
    return SET_IMAGES if cell.kind == "sets" else DISTANCE_IMAGES


def work_of(cell: Cell, network: Network) -> int:
    """Return how many images the network has to evaluate for a cell, over all steps."""
    if cell.kind == "distance" and kept_images(cell).exists():
        return 0
    return ROWS[cell.row].evaluations(network.config, cell.steps) * images_of(cell)


def measure(cell: Cell, network: Network, batch: int) -> Record:
    """Return the measurements of a cell. The first images of seed 0 are kept on disk."""
    start = time.process_time()
    if cell.kind == "reference":
        found = _reference(cell, network, batch)
    else:
        images = _images(cell, network, batch)
        found = _of_set(images) if cell.kind == "sets" else _of_each(images, cell, network, batch)
    return {
        "evaluations": ROWS[cell.row].evaluations(network.config, cell.steps),
        "images": images_of(cell),
        **found,
        "cpu_seconds": round(time.process_time() - start, 1),
    }


def rms(a: Tensor, b: Tensor) -> float:
    """Return the root mean square difference of two sets of images, pixel by pixel."""
    return _squares(a, b).mean().sqrt().item()


def rms_of_the_rest(a: Tensor, b: Tensor) -> float:
    """Return the root mean square difference without the image that differs most."""
    return _squares(a, b).sort().values[:-1].mean().sqrt().item()


def median(a: Tensor, b: Tensor) -> float:
    """Return the median over the images of each one's root mean square difference."""
    return _squares(a, b).sqrt().median().item()


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean square difference of each image, shape (n,)."""
    return (a.double() - b.double()).square().flatten(1).mean(1)


def kept_images(cell: Cell) -> Path:
    """Return the path of a cell's first images, shared by both kinds."""
    return RUNS / "images" / f"{cell.name}.safetensors"


def _images(cell: Cell, network: Network, batch: int) -> Tensor:
    path = kept_images(cell)
    if cell.kind == "distance" and path.exists():
        return load_file(path)["images"]
    first = cell.seed * _SEEDS_APART
    seeds = range(first, first + images_of(cell))
    images = ROWS[cell.row].images(network, cell.steps, seeds, batch)
    if cell.seed == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"images": images[:DISTANCE_IMAGES].contiguous()}, path)
    return images


def _of_set(images: Tensor) -> Record:
    features, real = features_of(images), real_features()
    return {"frechet": frechet(features, real), "kid": kernel_distance(features, real)}


def _of_each(images: Tensor, cell: Cell, network: Network, batch: int) -> Record:
    best = _converged(*REFERENCES[0], network, batch)[ROWS[cell.row].end]
    return {"rms": rms(images, best), "median": median(images, best)}


def _reference(cell: Cell, network: Network, batch: int) -> Record:
    ends = _converged(cell.row, cell.steps, network, batch)
    best = _converged(*REFERENCES[0], network, batch)
    return {
        f"{name}_{end}": function(images, best[end])
        for name, function in (("rms", rms), ("rest", rms_of_the_rest), ("median", median))
        for end, images in ends.items()
    }


def _converged(row: str, steps: int, network: Network, batch: int) -> dict[str, Tensor]:
    """Return the converged images at each end, generated unless kept on this machine."""
    path = RUNS / "converged" / f"{Cell('reference', network.name, row, steps).name}.safetensors"
    if not path.exists():
        ends = converge(network, row, steps, range(DISTANCE_IMAGES), batch)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({end: images.contiguous() for end, images in ends.items()}, path)
    return load_file(path)
