"""Which precision a device supports, and how exactly it computes float32."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@functools.cache
def computes_float64(device: torch.device) -> bool:
    """Whether a device supports float64; Apple's GPUs, Intel's Arc and DirectML do not."""
    try:
        third = torch.ones((), dtype=torch.float64, device=device) / 3
        return third.item() == 1 / 3
    except Exception:  # each device raises its own type
        return False


@contextmanager
def exact_float32() -> Iterator[None]:
    """Disable TF32, with its 10-bit mantissa, so that images are the same on other devices.

    Since torch 2.9 there is a second API, ``fp32_precision``. Once it has been used, reading the
    first one raises, and only the second is set here. Until then both are set, because others, for
    example torch.compile, read the first.
    """
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    exact: list[tuple[Any, str, object]]
    exact = [(matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]
    if hasattr(matmul, "fp32_precision"):
        newer = (matmul, cudnn.conv, cudnn.rnn)
        exact += [(owner, "fp32_precision", "ieee") for owner in newer]
    exact = [setting for setting in exact if _can_be_read(*setting)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in exact]
    try:
        for setting in exact:
            setattr(*setting)
        yield
    finally:
        for setting in before:
            setattr(*setting)


def _can_be_read(owner: Any, name: str, _: object) -> bool:
    try:
        getattr(owner, name)
    except RuntimeError:  # the newer API has been used
        return False
    return True
