"""Noise left over in a masked LATENT: what stands outside the mask must not become noise.

A mask keeps a known image where it is below 1. A sampler that goes on needs that image without
noise, and a LATENT has room for one tensor. So our samplers leave the known image there and noise
only where the image is made: the host's own samplers, which put what they are given outside the
mask, then keep it too.

Whether somebody else's LATENT is like that cannot be seen. What was left here is therefore
remembered by its digest: other nodes may pick, repeat and rebatch images, but a known part that was
flipped, resized or noised is not found, and no picture is made of it.
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
        x: noise left over, in the host's scale, shape (B, C, H, W).
        known: what stands where ``mask`` is 0, without noise, shape (B, C, H, W).
        mask: shape (B, C, H, W), 1 where the image is made.
    """
    return torch.where(mask < 1, known, x)


def remember(samples: Tensor, mask: Tensor) -> None:
    """Keep in mind what stands outside the mask, as the next sampler will be given it."""
    _left.update(_known_parts(samples, mask))


def check_known(samples: Tensor, mask: Tensor) -> None:
    """Raise ValueError unless what stands outside the mask is known to have no noise.

    Args:
        samples: noise left over, in the host's scale, shape (B, C, H, W).
        mask: shape (B, C, H, W), 1 where the image is made.
    """
    if (mask < 1).any() and not _left.issuperset(_known_parts(samples, mask)):
        raise ValueError(
            "This LATENT has noise left over and a mask, and what stands outside the mask cannot "
            "be kept: the part of the run before this one was another sampler's (ComfyUI's own "
            "leave noise there), or the images or the mask were changed in between. Run both parts "
            "with samplers of this pack, and flip, resize or mask the images before the first "
            "part. Or leave the mask out of both parts, and put the kept image back into the "
            "finished picture with LatentCompositeMasked."
        )


def with_known(latent: dict[str, Any], x: Tensor, known: Tensor) -> dict[str, Any]:
    """Return a masked LATENT with noise left over, for any sampler that goes on.

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
    """Return x and the known image of a masked LATENT with noise left over, (B, C, H, W) each.

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
