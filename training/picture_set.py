"""The pictures of a training, in memory."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

Crop = Literal["centre", "random"]


class PictureSet:
    """Pictures in memory.

    Args:
        pixels: each picture, shape (channels, h, w), uint8 in 0..255 or float32 in -1..1. With
            "centre" all have ``size``, with "random" none is smaller.
        size: (height, width) of what the network sees.
        crop: "centre" for whole pictures, "random" for a part of each, at a random position.
        notes: sentences for the user about how the pictures were read.
    """

    def __init__(
        self,
        pixels: list[Tensor],
        size: tuple[int, int],
        crop: Crop = "centre",
        notes: Sequence[str] = (),
    ):
        self.pixels = pixels
        self.size = size
        self.crop: Crop = crop
        self.notes = tuple(notes)
        self.channels = pixels[0].shape[0]

    @classmethod
    def of_tensor(cls, images: Tensor) -> "PictureSet":
        """Return whole pictures, without a copy of them.

        Args:
            images: shape (n, C, H, W), uint8 in 0..255, or float32 in -1..1; the dtype is kept.

        Raises:
            ValueError: there are no images.
        """
        if len(images) == 0:
            raise ValueError("There are no pictures to train on.")
        return cls(list(images.unbind()), (images.shape[-2], images.shape[-1]))

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, chosen: Sequence[int], generator: torch.Generator) -> Tensor:
        """Return pictures, or one crop of each.

        Args:
            chosen: indices from 0; the same one may occur several times.
            generator: on the CPU, for the positions of random crops; each has the same probability.

        Returns:
            Shape (len(chosen), channels, height, width), in the dtype of the pictures.
        """
        pictures = [self.pixels[i] for i in chosen]
        if self.crop == "random":
            h, w = self.size
            for i, picture in enumerate(pictures):
                top = draw(picture.shape[1] - h, generator)
                left = draw(picture.shape[2] - w, generator)
                pictures[i] = picture[:, top : top + h, left : left + w]
        return torch.stack(pictures)

    @cached_property
    def sha256(self) -> str:
        """The sha256 of all pictures together."""
        return hashlib.sha256(b"".join(self.digests)).hexdigest()

    @cached_property
    def digests(self) -> list[bytes]:
        """The sha256 of each picture, of its pixels and its shape."""
        return [_digest(picture) for picture in self.pixels]


def as_floats(pixels: Tensor) -> Tensor:
    """Return pixels, uint8 or already in -1..1, in -1..1."""
    return pixels.float() / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels


def _digest(picture: Tensor) -> bytes:
    sha256 = hashlib.sha256(f"{picture.dtype} {tuple(picture.shape)}\n".encode())
    sha256.update(picture.contiguous().reshape(-1).numpy().data)
    return sha256.digest()


def draw(most: int, generator: torch.Generator) -> int:
    """Return a random number from 0 to ``most``."""
    return int(torch.randint(most + 1, (), generator=generator))
