"""Train a small classifier on pictures with labels, to steer a model with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..classifiers.image_classifier import ImageClassifier, ImageClassifierConfig
from ..schedulers.errors import UserError
from .network import Size
from .picture_set import as_floats
from .pictures import read_folder, survey_folder

_HELD_OUT = 5
"""One in this many pictures is held out to measure the accuracy."""
_NOISE = 1.0
"""The largest standard deviation of the noise added to a picture, in -1..1. A classifier trained
with noise recognises an image long before its details appear."""
_SHIFT = 16
"""Pictures are shifted by up to this fraction (1/n) of their side."""


@dataclass(frozen=True)
class Labelled:
    """Pictures with their classes.

    Attributes:
        images: shape (n, C, H, W), in -1..1.
        labels: indices of ``names``, shape (n,).
        names: of the classes.
        notes: sentences for the user about how the pictures were read.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_labelled(folder: Path, *, size: Size | None, channels: int) -> Labelled:
    """Read a folder with one subfolder of pictures per class, in the order of their names.

    Args:
        folder: with the classes' folders.
        size: of the images; None chooses one, as when training a model.
        channels: 1, 3 or 4.

    Raises:
        ValueError: there are fewer than two such folders, or one has no readable picture.
    """
    chosen, _ = survey_folder(folder, size=size, crop="centre", multiple=1)
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    if len(folders) < 2:
        raise UserError(
            f"A classifier needs at least two classes, but {folder} has {len(folders)} folders. "
            "Put the pictures of each class into a separate folder there, with the name of the "
            "class."
        )
    sets = [read_folder(path, size=chosen, channels=channels) for path in folders]
    images = torch.cat([as_floats(torch.stack(pictures.pixels)) for pictures in sets])
    labels = torch.tensor([len(pictures) for pictures in sets])
    return Labelled(
        images,
        torch.arange(len(sets)).repeat_interleave(labels),
        tuple(path.name for path in folders),
        tuple(note for pictures in sets for note in pictures.notes),
    )


class ClassifierTraining:
    """Trains a classifier on four fifths of the pictures.

    Args:
        pictures: with at least one picture of each class.
        steps: their number.
        batch_size: pictures per step.
        seed: of the weights, and of everything random.
        device: where to train.
    """

    def __init__(
        self,
        pictures: Labelled,
        *,
        steps: int,
        batch_size: int = 64,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ):
        self._pictures, self.steps, self._batch_size = pictures, steps, batch_size
        self._device = device
        self._generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(pictures.images), generator=self._generator)
        held_out = len(order) // _HELD_OUT
        self._held_out, self._learned = order[:held_out], order[held_out:]
        channels, *size = pictures.images.shape[1:]
        config = ImageClassifierConfig(channels, (size[0], size[1]), pictures.names)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.classifier = ImageClassifier(config).to(device)

    def run(self) -> Iterator[float]:
        """Yield the loss after each step."""
        optimizer = torch.optim.AdamW(self.classifier.parameters(), lr=2e-3, weight_decay=0.01)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            images, labels = (part.to(self._device) for part in self._draw())
            loss = F.cross_entropy(self.classifier(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
            yield loss.item()
        self.classifier.requires_grad_(False).eval()

    def _draw(self) -> tuple[Tensor, Tensor]:
        """Return a batch of shifted pictures with noise, and their labels."""
        generator, size = self._generator, min(self._batch_size, len(self._learned))
        chosen = self._learned[torch.randint(len(self._learned), (size,), generator=generator)]
        images = self._pictures.images[chosen]
        shift = [
            int(torch.randint(-(side // _SHIFT), side // _SHIFT + 1, (), generator=generator))
            for side in images.shape[2:]
        ]
        strength = _NOISE * torch.rand(size, 1, 1, 1, generator=generator)
        noise = torch.randn(images.shape, generator=generator)
        return images.roll(shift, (2, 3)) + strength * noise, self._pictures.labels[chosen]

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the fraction of held-out pictures that it recognises; NaN if there are none."""
        images, labels = (
            part[self._held_out] for part in (self._pictures.images, self._pictures.labels)
        )
        found = [
            self.classifier(part.to(self._device)).argmax(1).cpu()
            for part in images.split(self._batch_size)
            if len(part)
        ]
        if not found:
            return float("nan")
        return (torch.cat(found) == labels).float().mean().item()
