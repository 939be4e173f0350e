"""The features of a fixed network, by which pictures are compared."""

from pathlib import Path

import torch
from torch import Tensor

from ..pictures.images import to_channels
from ..schedulers.errors import UserError
from .base import Features, FeaturesName, sha256_of
from .digit_classifier import WEIGHTS, load_classifier


class DigitFeatures:
    """The 32 features of a small classifier of 16 x 16 digits that is part of this pack.

    They are scaled by one number so that their mean variance over real digits is 1.
    """

    name: FeaturesName = "digits"
    count = 32
    size: tuple[int, int] | None = (16, 16)
    resize = "none"

    def __init__(self) -> None:
        self._classifier = load_classifier()
        self.weights_sha256 = sha256_of(WEIGHTS)

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the features, float64; the pixels may also be grey, shape (n, 1, 16, 16)."""
        grey = to_channels(pixels.movedim(1, -1) / 255, 1).movedim(-1, 1)
        grey = (grey * 255).round() / 255 * 2 - 1  # as in a saved picture
        return self._classifier.features(grey).double() / self._classifier.scale


def make_features(
    name: FeaturesName, inception_file: Path | None, device: torch.device
) -> Features:
    """Return features by their name.

    Args:
        name: "inception" needs torch-fidelity.
        inception_file: its weights; None downloads them once.
        device: where Inception runs.

    Raises:
        ValueError: the weights cannot be fetched or read.
        ModuleNotFoundError: torch-fidelity is not installed.
    """
    if name == "inception":
        from .inception import InceptionFeatures

        return InceptionFeatures(inception_file, device)
    return DigitFeatures()


def check_size(features: Features, size: tuple[int, int], name: str) -> None:
    """Raise ``UserError`` if the network does not accept pictures of this size."""
    if features.size not in (None, size):
        raise UserError(
            f"The features '{features.name}' are those of a classifier of handwritten digits with "
            f"16 x 16 pixels, but the pictures in {name} have {size[0]} x {size[1]}. Choose the "
            "features 'inception'."
        )
