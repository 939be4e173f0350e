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

_FRAMES = "unconditional_frames"
"""The key of a trajectory's LATENT: by the digest of all frames of an image, how many they are."""

Record = dict[str, Any]


def make_records(samples: Tensor, seeds: Sequence[int], settings: Record) -> dict[str, Record]:
    """Return ``settings`` with its own seed for each image of (B, C, H, W) ``samples``."""
    return {
        digest(image): {"seed": seed, **settings}
        for image, seed in zip(samples, seeds, strict=True)
    }


def make_frame_records(
    samples: Tensor, images: Sequence[Record | None], frames: Sequence[Record]
) -> dict[str, Record]:
    """Return the record of each frame: that of its image, and what the frame adds to it.

    Args:
        samples: shape (B * F, C, H, W), the frames of one image side by side.
        images: of each of the B images.
        frames: what each of the F frames adds.
    """
    records = [{**(image or {}), **frame} for image in images for frame in frames]
    return {digest(frame): record for frame, record in zip(samples, records, strict=True)}


def find_records(latent: dict[str, Any]) -> list[Record | None]:
    """Return the record of each image of a LATENT, None where it has none."""
    records = latent.get(KEY)
    known = records if isinstance(records, dict) else {}
    return [known.get(digest(image)) for image in latent["samples"]]


def gather_records(records: Sequence[Record | None]) -> Record | None:
    """Return one record for a file that holds several pictures, None where nothing is known.

    What all have in common stands once; ``images`` has the rest of each, in their order, and None
    for a picture without a record.
    """
    known = [record for record in records if record is not None]
    if not known:
        return None
    first, *others = known
    common = {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }
    rest = [
        None
        if record is None
        else {name: value for name, value in record.items() if name not in common}
        for record in records
    ]
    return {**common, "images": rest}


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
