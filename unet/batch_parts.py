"""How many images of a batch to evaluate at once, where memory would hold more."""

import torch

from .config import UNetConfig
from .memory import activation_bytes

# Measured on one thread of an AMD EPYC: parts of 50 to 80 MiB take the least time for each image.
_CPU_BYTES = 80 * 2**20


def fastest_part(
    config: UNetConfig, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device
) -> int:
    """Return how many of the B images of ``shape`` (B, C, H, W) to evaluate at once, 1 .. B.

    On a CPU those whose intermediate tensors take some 80 MiB: with more, single tensors exceed 32
    MiB, and the C library fetches such ones from the system, page by page, each time (the largest
    M_MMAP_THRESHOLD of glibc). The batch of 64 of google/ddpm-cifar10-32 takes a fifth longer in
    one piece than in four. On other devices all of them.
    """
    batch, *image = shape
    if device.type != "cpu":
        return batch
    for_one = activation_bytes(config, (1, image[0], image[1], image[2]), dtype)
    return even_part(batch, _CPU_BYTES // for_one)


def even_part(batch: int, most: int) -> int:
    """Return the size of the parts of a batch, about equal and none larger than ``most`` (or 1)."""
    parts = -(-batch // max(1, most))
    return -(-batch // parts)
