"""Variance-exploding score models (Song et al. 2021, NCSN++)."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from .options import NUMBER, Ranges, SigmaOptions


@dataclass(frozen=True)
class ScoreConfig(SigmaOptions):
    """The options of diffusers' ``ScoreSdeVeScheduler``, with its defaults.

    ``sigma_min`` and ``sigma_max`` are noise levels of the training data, which is in 0..1. Images
    are in -1..1 everywhere else in this pack. Only this class converts: its methods take and return
    images in -1..1, whose noise levels are twice as high.
    """

    CLASS_NAME: ClassVar[str] = "ScoreSdeVeScheduler"
    PIPELINE: ClassVar[str] = "ScoreSdeVePipeline"
    RANGES: ClassVar[Ranges] = {
        "num_train_timesteps": (int, 1, 1_000_000),
        "snr": (NUMBER, 0, 1e6),
        "sigma_min": (NUMBER, 1e-6, 1e6),
        "sigma_max": (NUMBER, 1e-6, 1e6),
        "sampling_eps": (NUMBER, 0, 1),
        "correct_steps": (int, 0, 1_000_000),
    }
    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset({"tensor_format"})

    num_train_timesteps: int = 2000
    snr: float = 0.15
    sigma_min: float = 0.01
    sigma_max: float = 1348.0
    sampling_eps: float = 1e-5
    correct_steps: int = 1
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """Warnings for the user about the file that these options were read from."""

    @property
    def sigma_range(self) -> tuple[float, float]:
        """The lowest and the highest noise level of images in -1..1."""
        return 2 * self.sigma_min, 2 * self.sigma_max

    # x has the shape (B, C, H, W), and sigmas broadcast against it; both belong to images in -1..1.

    def network_time(self, sigma: Tensor) -> Tensor:
        """Return the network's time for noise levels of any shape: their values for its data."""
        return sigma / 2

    def network_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the network's input: x in the range of its data."""
        return (x + 1) / 2

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the image for a score (Tweedie's formula).

        In the data's range it is x + sigma^2 score; in -1..1 the score's term is doubled.
        """
        return x + 2 * (sigma / 2) ** 2 * output

    def noised(self, x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Return an image with noise of this level."""
        return x0 + sigma * noise
