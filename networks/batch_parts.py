"""In which parts a batch is evaluated."""

import torch

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

    The last part may overlap the one before; see ``starts``. Among the sizes from half the limit on
    it is the one with the least overlap, and of these the largest.
    """
    if count <= limit:
        return count
    sizes = range(-(-limit // 2), limit + 1)
    return min(filter(None, sizes), key=lambda size: (-(-count // size) * size, -size), default=1)


def starts(count: int, size: int) -> list[int]:
    """Return where parts of the same size start that cover ``count``; the last may overlap."""
    return [min(start, count - size) for start in range(0, count, size)]
