"""Consistency models (Song et al. 2023): networks that map any noise level to the image at once."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from .options import NUMBER, Ranges, SigmaOptions


@dataclass(frozen=True)
class ConsistencyConfig(SigmaOptions):
    """The options of diffusers' ``CMStochasticIterativeScheduler``, with its defaults.

    The noise levels range from ``sigma_min``, where an image counts as free of noise, to
    ``sigma_max``. A list of ``num_train_timesteps`` of them starts at ``sigma_max``.
    """

    CLASS_NAME: ClassVar[str] = "CMStochasticIterativeScheduler"
    PIPELINE: ClassVar[str] = "ConsistencyModelPipeline"
    RANGES: ClassVar[Ranges] = {
        "num_train_timesteps": (int, 2, 1_000_000),
        "sigma_min": (NUMBER, 1e-6, 1e6),
        "sigma_max": (NUMBER, 1e-6, 1e6),
        "sigma_data": (NUMBER, 1e-6, 1e6),
        "s_noise": (NUMBER, 0, 1e6),
        "rho": (NUMBER, 1e-3, 1e3),
    }
    SWITCHES: ClassVar[tuple[str, ...]] = ("clip_denoised",)

    num_train_timesteps: int = 40
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    s_noise: float = 1.0
    rho: float = 7.0
    clip_denoised: bool = True
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """Warnings for the user about the file that these options were read from."""

    @property
    def sigma_range(self) -> tuple[float, float]:
        """The lowest and the highest noise level of images in -1..1."""
        return self.sigma_min, self.sigma_max

    def level(self, entry: int) -> float:
        """Return a noise level of the list (Karras et al. 2022, eq. 5); entry 0 is the highest."""
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        ramp = entry / (self.num_train_timesteps - 1)
        return (high + ramp * (low - high)) ** self.rho

    # The equations below take x of shape (B, C, H, W), and sigmas that broadcast against it. Below
    # sigma_min there is nothing to remove, so lower sigmas count as sigma_min.

    def network_time(self, sigma: Tensor) -> Tensor:
        """Return the time that the network receives for noise levels of any shape."""
        return 250 * sigma.clamp(min=self.sigma_min).log()

    def time_of(self, entry: int) -> float:
        """Return the exact time that the network receives for an entry of the list."""
        return 250 * math.log(self.level(entry))

    def network_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the network's input: x, scaled to the standard deviation of the data."""
        return x / (sigma.clamp(min=self.sigma_min) ** 2 + self.sigma_data**2).sqrt()

    def denoised(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        """Return the image for an output of the network (Song et al. 2023, appendix C).

        At ``sigma_min`` it is x itself.
        """
        sigma = sigma.clamp(min=self.sigma_min)
        variance, above = self.sigma_data**2, sigma - self.sigma_min
        c_skip = variance / (above**2 + variance)
        c_out = above * self.sigma_data / (sigma**2 + variance).sqrt()
        x0 = c_skip * x + c_out * output
        return x0.clamp(-1, 1) if self.clip_denoised else x0

    def noised(self, x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Return an image with noise of this level, counting its own ``sigma_min``.

        (Song et al. 2023, algorithm 1.)
        """
        return x0 + (sigma**2 - self.sigma_min**2).clamp(min=0).sqrt() * noise
