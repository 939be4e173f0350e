"""The host's NOISE, drawn as our samplers draw it: one generator for each image."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..schedulers.randomness import SeededNoise, image_seeds


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
            "Connect a LATENT of one of ComfyUI's batch nodes unchanged."
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


class ImageNoise:
    """NOISE of the host: standard normal, float32, on the CPU, shaped like the LATENT."""

    def __init__(self, seed: int):
        self.seed: int = seed

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        """Draw the initial noise of each image of a LATENT."""
        samples = latent["samples"]
        if samples.is_nested:
            raise ValueError(
                "This LATENT holds several kinds of data (as video with sound). Use RandomNoise "
                "with it."
            )
        # The host reads the seed after the noise.
        seeds = seeds_of(int(self.seed), latent)
        self.seed = BatchSeed.of(self.seed, seeds)
        return SeededNoise(seeds, tuple(samples.shape[1:]))()


def keep_images(latent: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """Return a LATENT of some of its images only, each with the batch_index and mask it had."""
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
