"""How a picture was made, stored in the LATENT along with the pixels.

The record of an image is looked up by the image itself. Other nodes may select, reorder or change
images of a LATENT, and no image ever gets another one's seed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

KEY = "unconditional"
"""The LATENT's key, and the name of the metadata in saved pictures."""

_FRAMES = "unconditional_frames"
"""A trajectory LATENT's key: the number of an image's frames, by the digest of all its frames."""

Record = dict[str, Any]


Records = dict[str, list[Record]]
"""By the digest of an image: a record for each time it was generated, in that order."""


def make_records(samples: Tensor, each: Sequence[Record], settings: Record) -> Records:
    """Return records with ``settings`` and each image's own entries, for samples (B, C, H, W)."""
    return _by_digest(samples, ({**own, **settings} for own in each))


def make_frame_records(
    samples: Tensor, images: Sequence[Record | None], frames: Sequence[Record]
) -> Records:
    """Return the record of each frame: its image's record, plus the frame's own entries.

    Args:
        samples: shape (B * F, C, H, W), with the frames of one image next to each other.
        images: the record of each of the B images.
        frames: what each of the F frames adds.
    """
    return _by_digest(samples, ({**(image or {}), **frame} for image in images for frame in frames))


def _by_digest(samples: Tensor, records: Iterable[Record]) -> Records:
    found: Records = {}
    for image, record in zip(samples, records, strict=True):
        found.setdefault(digest(image), []).append(record)
    return found


def find_records(latent: dict[str, Any]) -> list[Record | None]:
    """Return the record of each image of a LATENT, None if it has none.

    Equal images get their records in the order in which they were generated. If a LATENT has more
    or fewer of them than records, each gets what those records have in common, and ``one_of`` with
    the rest of each.
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
    """Return what is certain about a picture that has one of these records."""
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
    """Return one record for a file with several pictures, None if nothing is known.

    It has what all records have in common; ``images`` has the rest of each, in their order, and
    None for a picture without a record.
    """
    known = [record for record in records if record is not None]
    if not known:
        return None
    common, rest = _common(known)
    remaining = iter(rest)
    return {**common, "images": [None if record is None else next(remaining) for record in records]}


def mark_frames(samples: Tensor, frames: int) -> dict[str, Any]:
    """Return the entry that marks a LATENT as a trajectory.

    Args:
        samples: shape (B * frames, C, H, W), with the frames of one image next to each other.
        frames: the number of frames per image.
    """
    return {_FRAMES: {digest(stack): frames for stack in samples.split(frames)}}


def find_frames(latent: dict[str, Any]) -> int:
    """Return the number of frames per image of a LATENT; 1 if it is not a trajectory.

    Only a LATENT that consists of whole trajectories of equal length is one. Other nodes may have
    selected, reordered, changed or added images and kept its keys.
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
    """Return the key of an image: equal for equal float32 values."""
    return hashlib.sha256(image.float().cpu().contiguous().numpy().tobytes()).hexdigest()
