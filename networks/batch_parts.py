"""In which parts a batch is evaluated."""

from collections.abc import Sequence

import torch
from torch import Tensor

# Measured on one thread of an AMD EPYC: parts of 50 to 80 MiB take the least time per image.
_CPU_BYTES = 80 * 2**20


def fastest_part(batch: int, bytes_for_one: int, device: torch.device) -> int:
    """Return how many images of a batch to evaluate at once, 1 .. ``batch``.

    On a CPU, as many as keep the intermediate tensors at about 80 MiB. Beyond that, single tensors
    exceed 32 MiB, glibc's largest M_MMAP_THRESHOLD, and the C library requests their memory from
    the system, page by page, on every allocation. A batch of 64 of google/ddpm-cifar10-32 takes a
    fifth longer in one piece than in four. On other devices, all of them.

    Args:
        batch: the number of images.
        bytes_for_one: the intermediate tensors of one image; see ``Network.activation_bytes``.
        device: where the network is evaluated.
    """
    return batch if device.type != "cpu" else even_part(batch, _CPU_BYTES // bytes_for_one)


def even_part(batch: int, limit: int) -> int:
    """Return the size of about equal parts of a batch, none larger than ``limit`` (or 1)."""
    parts = -(-batch // max(1, limit))
    return -(-batch // parts)


def equal_part(count: int, limit: int) -> int:
    """Return the size, at most ``limit`` (or 1), of equal parts that cover ``count`` best.

    Among the sizes from half the limit on it is the one whose parts overlap least, and of these the
    largest. Weights that were prepared for a size then serve all parts.
    """
    if count <= limit:
        return count
    sizes = range(max(1, -(-limit // 2)), max(1, limit) + 1)
    return min(sizes, key=lambda size: (-(-count // size) * size, -size))


def equal_parts(count: int, size: int) -> list[slice]:
    """Return parts of the same size that cover ``count``; the last may overlap the one before."""
    size = min(size, count)
    starts = (min(start, count - size) for start in range(0, count, size))
    return [slice(start, start + size) for start in starts]


def joined(parts: Sequence[Tensor], count: int) -> Tensor:
    """Return what was computed for ``equal_parts`` of a batch, shape (count, ...)."""
    overlap = sum(map(len, parts)) - count
    return parts[0] if len(parts) == 1 else torch.cat([*parts[:-1], parts[-1][overlap:]])
