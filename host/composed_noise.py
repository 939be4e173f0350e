"""NOISE made from other NOISE, and everything else that the samplers accept as noise."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..pictures.provenance import Record, digest, find_records
from ..schedulers.errors import UserError
from ..schedulers.mixing import Loop, slerp
from .inverted_noise import Inversion, find_inversion
from .noise import Drawn, HeldNoise


class LatentNoise(HeldNoise):
    """The images of a LATENT as noise; a single one is used for all images."""

    def __init__(self, latent: dict[str, Any]):
        samples: Tensor = latent["samples"]
        if samples.is_nested or samples.ndim != 4:
            raise UserError("A LATENT used as noise must contain still images, as from 'Invert'.")
        self._samples, self._rest = samples.float().cpu(), None
        self._indices = list(latent.get("batch_index") or range(len(samples)))
        self._records = [
            {"latent": digest(image), **(record or {})}
            for image, record in zip(self._samples, find_records(latent), strict=True)
        ]
        if (found := find_inversion(latent)) is not None:
            self.inversion, states = found
            self._samples, self._rest = states.chunk(2, dim=1)
        self.count, self.size = len(samples), (samples.shape[2], samples.shape[3])

    def draw(self, latent: dict[str, Any]) -> Drawn:
        _check_shape(self._samples, latent["samples"])
        kept = self._of(latent)
        rest = None if self._rest is None else self._rest[kept]
        return Drawn(self._samples[kept], [self._records[k] for k in kept], rest)

    def _of(self, latent: dict[str, Any]) -> list[int]:
        """Return the index of the noise for each image of a LATENT."""
        count, wanted = len(self._samples), len(latent["samples"])
        if count in (1, wanted):
            return [k % count for k in range(wanted)]
        indices = latent.get("batch_index")
        if indices is None or not set(indices) <= set(self._indices):
            raise UserError(
                f"The noise has {count} images, but the latent has {wanted}. Connect a latent of "
                f"{count} images, or a latent of one image or none, so that the noise sets the "
                "number."
            )
        return [self._indices.index(index) for index in indices]


class HostNoise(HeldNoise):
    """NOISE from another node, for example ComfyUI's RandomNoise."""

    def __init__(self, noise: Any):
        self._noise = noise
        self.seed = int(getattr(noise, "seed", 0) or 0)

    def draw(self, latent: dict[str, Any]) -> Drawn:
        noise: Tensor = self._noise.generate_noise(latent).float().cpu()
        _check_shape(noise, latent["samples"])
        record: Record = {"of": type(self._noise).__name__, "seed": self.seed}
        return Drawn(noise, [{**record, "image": k} for k in range(len(noise))])


def as_noise(given: Any) -> HeldNoise:
    """Return NOISE, or a LATENT of noise, as our own NOISE.

    Raises:
        UserError: it is neither.
    """
    if isinstance(given, HeldNoise):
        return given
    if isinstance(given, dict) and "samples" in given:
        return LatentNoise(given)
    if hasattr(given, "generate_noise"):
        return HostNoise(given)
    raise UserError(f"noise takes NOISE or a LATENT of noise, not {type(given).__name__}.")


class MixedNoise(HeldNoise):
    """Noise between two noises: variations of the first.

    Args:
        first, second: the ends.
        strength: 0..1; at 0 the first, bit for bit.
        one_first: whether all images have the first noise of image 0.
    """

    def __init__(self, first: HeldNoise, second: HeldNoise, strength: float, *, one_first: bool):
        if not 0 <= strength <= 1:
            raise UserError(f"strength must be from 0 to 1, not {strength}.")
        self._first, self._second = first, second
        self._strength, self._one_first = strength, one_first
        self.seed, self.inversion = first.seed, _common_inversion(first, second)
        counts = [n.count for n in (first, second) if n.count not in (None, 1)]
        self.count = counts[0] if counts else None
        self.size = first.size or second.size

    def draw(self, latent: dict[str, Any]) -> Drawn:
        one = self._one_first or self._first.count == 1
        if one:
            first = self._first.draw(_images(latent["samples"], 1))
            first = first.of([0] * len(latent["samples"]))
        else:
            first = self._first.draw(latent)
        second, part = self._second.draw(latent), self._strength
        pairs = zip(first.records, second.records, strict=True)
        dtype = torch.promote_types(first.noise.dtype, second.noise.dtype)
        noises = zip(first.noise.to(dtype), second.noise.to(dtype), strict=True)
        return Drawn(
            torch.stack([slerp(a, b, part) for a, b in noises]),
            [{"mixed": list(pair), "strength": part} for pair in pairs],
            _between(first.rest, second.rest, [part] * len(first.noise)),
            one or first.one_seed,
        )


class NoiseWalk(HeldNoise):
    """A closed walk through several noises: image k is frame ``batch_index[k]``.

    All frames get the same added noise, so that nothing flickers.

    Args:
        keys: the noises; its first ``loop.keys`` images if it has no number of its own.
        loop: the path.
    """

    def __init__(self, keys: HeldNoise, loop: Loop):
        self._keys, self._loop = keys, loop
        self.seed, self.inversion = keys.seed, keys.inversion
        self.count, self.size = loop.frames, keys.size

    def draw(self, latent: dict[str, Any]) -> Drawn:
        samples, frames = latent["samples"], self._loop.frames
        indices = latent.get("batch_index")
        if indices is None and len(samples) != frames:
            raise UserError(
                f"This walk has {frames} frames, but the latent has {len(samples)} images. Connect "
                f"a latent of {frames} images ('Repeat Latent Batch'). The samplers of this pack "
                "also take one of a single image, or none."
            )
        shown = list(range(frames) if indices is None else indices)
        if not all(0 <= frame < frames for frame in shown):
            raise UserError(f"This walk has the frames 0 to {frames - 1}, not {max(shown)}.")
        keys = self._keys.draw(_images(samples, self._loop.keys))
        places = [self._loop.place(frame) for frame in shown]
        before, after = keys.of([p[0] for p in places]), keys.of([p[1] for p in places])
        parts = [place[2] for place in places]
        noises = zip(before.noise, after.noise, parts, strict=True)
        rows = zip(shown, before.records, after.records, parts, strict=True)
        return Drawn(
            torch.stack([slerp(*noise) for noise in noises]),
            [
                {"frame": frame, "frames": frames, "mixed": [a, b], "strength": part}
                for frame, a, b, part in rows
            ],
            _between(before.rest, after.rest, parts),
            one_seed=True,
        )


class ShiftedNoise(HeldNoise):
    """Rolled noise: values that leave at one edge enter at the opposite one.

    Args:
        noise: the noise to roll.
        x, y: how far to roll it, in pixels, to the right and down.
    """

    def __init__(self, noise: HeldNoise, x: int, y: int):
        self._noise, self._x, self._y = noise, x, y
        self.seed, self.inversion = noise.seed, noise.inversion
        self.count, self.size = noise.count, noise.size

    def draw(self, latent: dict[str, Any]) -> Drawn:
        drawn = self._noise.draw(latent)

        def roll(images: Tensor) -> Tensor:
            return images.roll((self._y, self._x), (2, 3))

        return Drawn(
            roll(drawn.noise),
            [{"shifted": [self._x, self._y], "of": record} for record in drawn.records],
            None if drawn.rest is None else roll(drawn.rest),
            drawn.one_seed,
        )


def _images(like: Tensor, count: int) -> dict[str, Any]:
    """Return a LATENT of this many images of this size, without other keys."""
    return {"samples": like[:1].expand(count, -1, -1, -1)}


def _between(first: Tensor | None, second: Tensor | None, parts: Sequence[float]) -> Tensor | None:
    """Return the rests of mixed noise; random noise has the rest 0."""
    if first is None and second is None:
        return None
    known = first if first is not None else second
    assert known is not None
    a, b = (torch.zeros_like(known) if rest is None else rest for rest in (first, second))
    return torch.stack([torch.lerp(x, y, part) for x, y, part in zip(a, b, parts, strict=True)])


def _common_inversion(first: HeldNoise, second: HeldNoise) -> Inversion | None:
    found = [noise.inversion for noise in (first, second) if noise.inversion is not None]
    if any(other != found[0] for other in found):
        raise UserError(
            "These two noises come from 'Invert' nodes with different settings or models, so no "
            "sampler can draw their mixture. Use the same settings, or the method DDIM."
        )
    return found[0] if found else None


def _check_shape(noise: Tensor, samples: Tensor) -> None:
    if noise.shape[1:] != samples.shape[1:]:
        (c, h, w), (channels, height, width) = noise.shape[1:], samples.shape[1:]
        raise UserError(
            f"The noise has {c} channels and {w} x {h} pixels, but the images to draw have "
            f"{channels} channels and {width} x {height} pixels. Use noise of their size: invert "
            "a picture of that size with a model of the same channels, or connect a latent of the "
            "noise's size."
        )
