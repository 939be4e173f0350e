"""How much memory one evaluation of the network takes."""

import torch

from .config import LucidrainsConfig


def activation_bytes(
    config: LucidrainsConfig, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> int:
    raise NotImplementedError
