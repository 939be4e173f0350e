"""What every network offers whose features compare pictures."""

import hashlib
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

FeaturesName = Literal["inception", "digits"]


class Features(Protocol):
    """A fixed network."""

    name: FeaturesName
    count: int
    """How many features a picture has."""
    size: tuple[int, int] | None
    """The required height and width of the pictures; None for any."""
    resize: str
    """How it resizes pictures."""
    weights_sha256: str

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the features of pictures, on the CPU, shape (n, count).

        Args:
            pixels: uint8, shape (n, 3, H, W).
        """
        ...


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file that fits into memory."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
