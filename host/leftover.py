"""Leftover noise in a masked LATENT: the image outside the mask must stay free of noise.

A mask keeps a known image where it is below 1. The next sampler needs that image without noise, and
a LATENT has room for only one tensor. So our samplers leave the known image outside the mask, and
noise only inside it. The host's own samplers restore their input outside the mask, so they keep the
image too.

There is no way to see whether another sampler's LATENT is like that. So we remember the digest of
each known part. Other nodes may pick, repeat and rebatch images, but a known part that was flipped,
resized or noised is not found, and the run is rejected.
"""

from typing import Any

import comfy.sampler_helpers
import torch
from torch import Tensor

from ..pictures.provenance import digest

KEY = "unconditional_known"
"""In a LATENT, by the digest of each image: x with its noise everywhere, and the known image."""

_left: set[str] = set()
"""Digests of the known parts that our samplers left without noise while this process runs."""


def leave(x: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """Return x with the known image wherever the mask keeps some of it.

    Args:
        x: leftover noise, in the host's scale, shape (B, C, H, W).
        known: the image where ``mask`` is 0, without noise, shape (B, C, H, W).
        mask: shape (B, C, H, W), 1 where the image is made.
    """
    return torch.where(mask < 1, known, x)


def remember(samples: Tensor, mask: Tensor) -> None:
    """Remember the image outside the mask, as the next sampler will receive it."""
    _left.update(_known_parts(samples, mask))


def check_known(samples: Tensor, mask: Tensor) -> None:
    """Raise ValueError unless the image outside the mask is known to have no noise.

    Args:
        samples: leftover noise, in the host's scale, shape (B, C, H, W).
        mask: shape (B, C, H, W), 1 where the image is made.
    """
    if (mask < 1).any() and not _left.issuperset(_known_parts(samples, mask)):
        raise ValueError(
            "This LATENT has leftover noise and a mask, and the image outside the mask cannot "
            "be kept: either another sampler ran the first part (ComfyUI's own leave noise "
            "there), or the images or the mask were changed in between. Run both parts with "
            "samplers of this pack, and flip, resize or mask the images before the first part. "
            "Or use no mask in both parts, and put the kept image back into the finished "
            "picture with LatentCompositeMasked."
        )


def with_known(latent: dict[str, Any], x: Tensor, known: Tensor) -> dict[str, Any]:
    """Return a masked LATENT with leftover noise, for any sampler that continues the run.

    Args:
        latent: with ``noise_mask``.
        x, known: as for ``leave``.
    """
    known = known.to(x)
    mask = _mask_of(latent, x)
    samples = leave(x, known, mask)
    remember(samples, mask)
    kept = {digest(image): pair for image, *pair in zip(samples, x, known, strict=True)}
    return {**latent, "samples": samples, KEY: kept}


def find_known(latent: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return x and the known image of a masked LATENT with leftover noise, (B, C, H, W) each.

    Raises:
        ValueError: as from ``check_known``.
    """
    samples: Tensor = latent["samples"]
    kept = latent.get(KEY)
    pairs = [kept.get(digest(image)) if isinstance(kept, dict) else None for image in samples]
    lost = [k for k, pair in enumerate(pairs) if pair is None]
    if lost:
        check_known(samples[lost], _mask_of(latent, samples)[lost])
    found = [pair or (image, image) for pair, image in zip(pairs, samples, strict=True)]
    return torch.stack([x for x, _ in found]), torch.stack([known for _, known in found])


def _mask_of(latent: dict[str, Any], samples: Tensor) -> Tensor:
    return comfy.sampler_helpers.prepare_mask(
        latent["noise_mask"], tuple(samples.shape), samples.device
    )


def _known_parts(samples: Tensor, mask: Tensor) -> list[str]:
    kept = mask < 1
    return [
        digest(torch.cat((torch.where(where, image, 0), where)))
        for image, where in zip(samples, kept, strict=True)
    ]
