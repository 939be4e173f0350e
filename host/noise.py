"""The host's NOISE, drawn as our samplers draw it: one generator for each image."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..pictures.provenance import Record
from ..schedulers.errors import UserError
from ..schedulers.randomness import SeededNoise, image_seeds
from .inverted_noise import Inversion


def seeds_of(seed: int, latent: dict[str, Any]) -> tuple[int, ...]:
    """Return the seed of each image of a LATENT: image k has ``seed`` + batch_index[k].

    Raises:
        ValueError: its batch_index is not one number for each image.
    """
    count = len(latent["samples"])
    batch_index = latent.get("batch_index")
    indices: Sequence[int] = range(count) if batch_index is None else list(batch_index)
    if len(indices) != count:
        raise ValueError(
            f"The batch_index of this LATENT has {len(indices)} entries for {count} images. "
            "Connect a LATENT from one of ComfyUI's batch nodes unchanged."
        )
    return tuple(image_seeds(seed, indices))


class BatchSeed(int):
    """The seed of a batch that also carries the seed of each image.

    SamplerCustomAdvanced passes one int from its NOISE to its SAMPLER, and nothing else.
    """

    images: tuple[int, ...]

    @classmethod
    def of(cls, seed: int, images: tuple[int, ...]) -> "BatchSeed":
        batch = cls(seed)
        batch.images = images
        return batch

    @classmethod
    def images_of(cls, seed: int, count: int) -> Sequence[int]:
        """Return the seed of each of ``count`` images, for any seed that the host passes."""
        known = getattr(seed, "images", None)
        return known if known and len(known) == count else image_seeds(seed, range(count))


@dataclass(frozen=True, eq=False)
class Drawn:
    """The initial noise of the images of a LATENT.

    Attributes:
        noise: on the CPU, shape (B, C, H, W); float32, or float64 from an exact inversion.
        records: what the record of each image says about its noise.
        rest: from an exact inversion, see ``schedulers.bdia``; shape (B, C, H, W), float64.
        one_seed: whether the noise that a sampler adds is the same for all images.
    """

    noise: Tensor
    records: Sequence[Record]
    rest: Tensor | None = None
    one_seed: bool = False

    @property
    def states(self) -> Tensor:
        """Noise and rest for ``BDIA``, shape (B, 2C, H, W)."""
        rest = torch.zeros_like(self.noise) if self.rest is None else self.rest
        return torch.cat((self.noise.double(), rest.double()), dim=1)

    def of(self, images: Sequence[int]) -> "Drawn":
        """Return the noise of some of the images, in this order."""
        rest = None if self.rest is None else self.rest[list(images)]
        records = [self.records[k] for k in images]
        return Drawn(self.noise[list(images)], records, rest, self.one_seed)

    def seeds(self, seed: int, latent: dict[str, Any]) -> tuple[int, ...]:
        """Return the seed of each image, for the noise that a sampler adds."""
        return (seed,) * len(self.noise) if self.one_seed else seeds_of(seed, latent)


class HeldNoise(ABC):
    """This pack's NOISE: the host's interface, plus what our samplers and records need.

    Attributes:
        seed: of the noise that a sampler adds, in the host's SamplerCustomAdvanced.
        count: how many images it has; None: as many as the LATENT.
        size: height and width, in pixels; None: those of the LATENT.
        inversion: the inversion that gave the noise, or a part of it; None: none did.
    """

    seed: int = 0
    count: int | None = None
    size: tuple[int, int] | None = None
    inversion: Inversion | None = None

    @abstractmethod
    def draw(self, latent: dict[str, Any]) -> Drawn:
        """Return the noise of each image of a LATENT.

        Raises:
            UserError: the noise does not fit the LATENT.
        """

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        """Return the noise; the host calls this on every NOISE."""
        if latent["samples"].is_nested:
            raise UserError(
                "This LATENT holds several kinds of data (for example video with sound). Use "
                "RandomNoise with it."
            )
        if self.inversion is not None:
            raise UserError(
                "This noise comes from 'Invert' with the method BDIA, which only 'DDIM Sampler' "
                "can draw. Connect it there, or choose the method DDIM in 'Invert'."
            )
        drawn = self.draw(latent)
        # The host reads the seed after the noise.
        seed = int(self.seed)
        self.seed = BatchSeed.of(seed, drawn.seeds(seed, latent))
        return drawn.noise


class ImageNoise(HeldNoise):
    """Standard normal noise of one seed for each image."""

    def __init__(self, seed: int):
        self.seed = seed

    def draw(self, latent: dict[str, Any]) -> Drawn:
        seeds = seeds_of(int(self.seed), latent)
        noise = SeededNoise(seeds, tuple(latent["samples"].shape[1:]))()
        return Drawn(noise, [{"seed": seed} for seed in seeds])


def keep_images(latent: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """Return a LATENT with only some of the images, each with its batch_index and mask."""
    count = len(latent["samples"])
    indices = latent.get("batch_index", range(count))
    result = {
        **latent,
        "samples": latent["samples"][list(kept)],
        "batch_index": [indices[k] for k in kept],
    }
    mask = latent.get("noise_mask")
    if mask is not None and len(mask) > 1:
        # The host repeats the masks of a batch until there are enough.
        result["noise_mask"] = mask[[k % len(mask) for k in kept]]
    return result
