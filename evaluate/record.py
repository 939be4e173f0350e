"""The record of a comparison: everything you need to repeat its figures."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .base import Features
from .comparison import Comparison, Range
from .copies import Copies
from .measured import Measured

_PACKAGES = ("numpy", "pillow", "torch-fidelity")


def make_record(
    comparison: Comparison, features: Features, copies: Copies | None
) -> dict[str, Any]:
    """Return figures, sets, features and versions, as for a JSON file."""
    runs = {id(part.run): part.run for part in comparison.ranges}.values()
    return {
        "figures": {
            figure.key: {
                "mean": figure.mean,
                "standard_deviation": figure.spread,
                "ranges": list(figure.values),
            }
            for figure in comparison.figures
        },
        "copies": None if copies is None else _copies(copies),
        "notes": list(comparison.notes),
        "ranges": [_range(part) for part in comparison.ranges],
        "runs": [_set(run) for run in runs],
        "reference": _set(comparison.reference),
        "features": {
            "name": features.name,
            "count": features.count,
            "resize": features.resize,
            "weights_sha256": features.weights_sha256,
        },
        "versions": _versions(),
    }


def as_text(record: dict[str, Any]) -> str:
    """Return a record as JSON."""
    return json.dumps(record, ensure_ascii=False, indent=2) + "\n"


def write_record(record: dict[str, Any], path: Path) -> None:
    """Write a record, replacing an existing one."""
    path.write_text(as_text(record), encoding="utf-8")


def _copies(copies: Copies) -> dict[str, Any]:
    found = copies.copying
    return {
        "copies": found.copies,
        "images": found.samples,
        "median_ratio": found.ratio,
        "compared_at": list(copies.drawn.shape[2:]),
    }


def _range(part: Range) -> dict[str, Any]:
    sources = part.run.images.sources
    first, last = sources[part.first].name, sources[part.last - 1].name
    return {"run": part.run.images.name, "first": first, "last": last, "images": len(part)}


def _set(measured: Measured) -> dict[str, Any]:
    images, statistics = measured.images, measured.images.statistics
    found: dict[str, Any] = {"name": images.name, "sha256": measured.sha256}
    if len(measured):
        found |= {"images": len(measured), "size": measured.size, "fitted": measured.fitted}
    if statistics is not None:
        found["statistics"] = {"sha256": statistics.sha256, "images": statistics.images}
    return found | ({} if images.made is None else {"made": images.made})


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
