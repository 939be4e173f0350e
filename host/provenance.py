"""How a picture was made, carried in the LATENT beside the pixels that it describes.

The record of an image is found by the image itself, so that a LATENT whose images were picked,
reordered or changed by other nodes never gives an image somebody else's seed.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor

KEY = "unconditional"
"""The LATENT's key, and the name of the metadata in saved pictures."""

Record = dict[str, Any]


def make_records(samples: Tensor, seeds: Sequence[int], settings: Record) -> dict[str, Record]:
    """Return ``settings`` with its own seed for each image of (B, C, H, W) ``samples``."""
    return {
        _digest(image): {"seed": seed, **settings}
        for image, seed in zip(samples, seeds, strict=True)
    }


def find_records(latent: dict[str, Any]) -> list[Record | None]:
    """Return the record of each image of a LATENT, None where it has none."""
    records = latent.get(KEY)
    known = records if isinstance(records, dict) else {}
    return [known.get(_digest(image)) for image in latent["samples"]]


def _digest(image: Tensor) -> str:
    return hashlib.sha256(image.float().cpu().contiguous().numpy().tobytes()).hexdigest()
