"""Checks of a model's tensors, and their dtype."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from ..networks.errors import CheckpointError, shown

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
"""Those that a network can be in."""
_PART = 2**20
"""Elements of a tensor that are checked at a time."""


def check_shapes(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Raise ``CheckpointError`` if a tensor is missing, unexpected or of another shape."""
    problems = {
        "missing": sorted(expected.keys() - weights.keys()),
        "not part of this configuration": sorted(weights.keys() - expected.keys()),
        "of another shape": [
            f"{name} is {tuple(weights[name].shape)} in the file and {tuple(tensor.shape)} in the "
            "configuration"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ],
    }
    found = [f"{what}: {_first_few(names)}" for what, names in problems.items() if names]
    if found:
        raise CheckpointError(
            f"The weights do not fit the configuration. Tensors {'; '.join(found)}. "
            "Use weights and a configuration from the same model."
        )


def check_values(weights: dict[str, Tensor], path: Path) -> None:
    """Raise ``CheckpointError`` if a tensor is not of finite floating-point numbers."""
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{path}: {shown(name)} has dtype {tensor.dtype}. Quantised weights cannot be "
                "loaded; use floating-point weights."
            )
        if not _is_finite(tensor):
            raise CheckpointError(
                f"{path}: {shown(name)} contains NaN or infinite values. The model is broken "
                "(training may have diverged); use another checkpoint."
            )


def _is_finite(tensor: Tensor) -> bool:
    # A sum needs no copy of a tensor, except of one in half precision; parts keep that copy small.
    # It may overflow itself.
    return all(
        bool(torch.isfinite(part.sum(dtype=torch.float32)) or part.isfinite().all())
        for part in tensor.flatten().split(_PART)
    )


def cast(weights: dict[str, Tensor], dtype: torch.dtype, path: Path) -> dict[str, Tensor]:
    """Return the tensors in ``dtype``, or raise if a value is out of its range."""
    cast = {name: tensor.to(dtype) for name, tensor in weights.items()}
    largest = torch.finfo(dtype).max
    for name, tensor in cast.items():
        if torch.finfo(weights[name].dtype).max > largest and not _is_finite(tensor):
            raise CheckpointError(
                f"{path}: {shown(name)} has values up to {weights[name].abs().max().item():.3g}, "
                f"which become infinite in {str(dtype).removeprefix('torch.')} (maximum "
                f"{largest:.6g}). "
                + (
                    "Choose dtype float32 or bfloat16 in the loader."
                    if dtype == torch.float16
                    else "The model is broken (training may have diverged); use another checkpoint."
                )
            )
    return cast


def own_dtype(weights: dict[str, Tensor]) -> torch.dtype:
    """Return the dtype that all tensors share, if it is in ``DTYPES``; otherwise float32."""
    dtypes = {tensor.dtype for tensor in weights.values()}
    dtype = dtypes.pop()
    return dtype if not dtypes and dtype in DTYPES else torch.float32


def _first_few(names: Iterable[str], limit: int = 4) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(name) for name in names[:limit]) + more
