"""How a picture was made, carried in the LATENT beside the pixels that it describes.

The record of an image is found by the image itself, so that a LATENT whose images were picked,
reordered or changed by other nodes never gives an image somebody else's seed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

KEY = "unconditional"
"""The LATENT's key, and the name of the metadata in saved pictures."""

_FRAMES = "unconditional_frames"
"""The key of a trajectory's LATENT: by the digest of all frames of an image, how many they are."""

Record = dict[str, Any]


Records = dict[str, list[Record]]
"""By the digest of an image: one record for each time that it was made, in their order."""


def make_records(samples: Tensor, seeds: Sequence[int], settings: Record) -> Records:
    """Return ``settings`` with its own seed for each image of (B, C, H, W) ``samples``."""
    return _by_digest(samples, ({"seed": seed, **settings} for seed in seeds))


def make_frame_records(
    samples: Tensor, images: Sequence[Record | None], frames: Sequence[Record]
) -> Records:
    """Return the record of each frame: that of its image, and what the frame adds to it.

    Args:
        samples: shape (B * F, C, H, W), the frames of one image side by side.
        images: of each of the B images.
        frames: what each of the F frames adds.
    """
    return _by_digest(samples, ({**(image or {}), **frame} for image in images for frame in frames))


def _by_digest(samples: Tensor, records: Iterable[Record]) -> Records:
    found: Records = {}
    for image, record in zip(samples, records, strict=True):
        found.setdefault(digest(image), []).append(record)
    return found


def find_records(latent: dict[str, Any]) -> list[Record | None]:
    """Return the record of each image of a LATENT, None where it has none.

    Equal images get their records in the order in which they were made. Where a LATENT has more or
    fewer of them, each gets what those records have in common, and ``one_of`` with their rest.
    """
    records = latent.get(KEY)
    known: Records = records if isinstance(records, dict) else {}
    digests = [digest(image) for image in latent["samples"]]
    counts, seen = Counter(digests), Counter[str]()
    found: list[Record | None] = []
    for name in digests:
        made = known.get(name, [])
        found.append(made[seen[name]] if len(made) == counts[name] else _one_of(made))
        seen[name] += 1
    return found


def _one_of(records: Sequence[Record]) -> Record | None:
    """Return what is certain of a picture that has one of some records."""
    if not records:
        return None
    common, rest = _common(records)
    return {**common, "one_of": rest} if any(rest) else common


def _common(records: Sequence[Record]) -> tuple[Record, list[Record]]:
    """Return what all records have in common, and the rest of each."""
    first, *others = records
    common = {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }
    rest = [
        {name: value for name, value in record.items() if name not in common} for record in records
    ]
    return common, rest


def gather_records(records: Sequence[Record | None]) -> Record | None:
    """Return one record for a file that holds several pictures, None where nothing is known.

    What all have in common stands once; ``images`` has the rest of each, in their order, and None
    for a picture without a record.
    """
    known = [record for record in records if record is not None]
    if not known:
        return None
    common, rest = _common(known)
    remaining = iter(rest)
    return {**common, "images": [None if record is None else next(remaining) for record in records]}


def mark_frames(samples: Tensor, frames: int) -> dict[str, Any]:
    """Return what the LATENT of a trajectory carries.

    Args:
        samples: shape (B * frames, C, H, W), the frames of one image side by side.
        frames: how many belong to one image.
    """
    return {_FRAMES: {digest(stack): frames for stack in samples.split(frames)}}


def find_frames(latent: dict[str, Any]) -> int:
    """Return how many images of a LATENT are the frames of one; 1 where it is no trajectory.

    Only a LATENT that consists of whole trajectories of one length is one, whatever other nodes
    left of its keys: those may have picked, reordered, changed or added images.
    """
    marks, samples = latent.get(_FRAMES), latent["samples"]
    known = marks if isinstance(marks, dict) else {}
    for frames in set(known.values()):
        if len(samples) % frames == 0 and all(
            known.get(digest(stack)) == frames for stack in samples.split(frames)
        ):
            return frames
    return 1


def digest(image: Tensor) -> str:
    """Return what an image is found by: equal for equal float32 values."""
    return hashlib.sha256(image.float().cpu().contiguous().numpy().tobytes()).hexdigest()
