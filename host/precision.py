"""What a device can compute, and how exactly it is let to."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@functools.cache
def computes_float64(device: torch.device) -> bool:
    """Whether a device has float64, which Apple's GPUs, Intel's Arc and DirectML do not."""
    try:
        third = torch.ones((), dtype=torch.float64, device=device) / 3
        return third.item() == 1 / 3
    except Exception:  # each device raises a type of its own
        return False


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keep CUDA from computing float32 with TF32's ten bits, so that images repeat elsewhere.

    Since torch 2.9 the same is set in a newer way too. Where somebody used that one, reading the
    older raises; where nobody did, both are set here, because others read the older.
    """
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    settings = [(matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]
    if hasattr(matmul, "fp32_precision"):
        newer = (matmul, cudnn.conv, cudnn.rnn)
        settings += [(owner, "fp32_precision", "ieee") for owner in newer]
    before = [_read(owner, name) for owner, name, _ in settings]
    known = [(*s, value) for s, value in zip(settings, before, strict=True) if value is not None]
    try:
        for owner, name, exact, _ in known:
            setattr(owner, name, exact)
        yield
    finally:
        for owner, name, _, value in known:
            setattr(owner, name, value)


def _read(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except RuntimeError:  # the newer way has been used
        return None
