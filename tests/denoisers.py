"""Cheap denoisers for scheduler tests: nonlinear, dependent on time, and tame."""

import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from torch import Tensor

SHAPE = (3, 8, 8)


class Denoiser:
    """Predicts for data of standard deviation 0.3, with a wiggle that depends on x and t.

    The first part is exact for Gaussian data, so samples stay within about (-1, 1) under any
    schedule; the second makes the result depend on every evaluation, its time and its place in a
    history.
    """

    def __init__(
        self, config: SchedulerConfig, *, variance: str | None = None, wiggle: float = 0.2
    ):
        self.alphas_cumprod = NoiseSchedule.from_config(
            config, rescale_zero_snr=False
        ).alphas_cumprod.double()
        self.prediction_type = config.prediction_type
        self.variance = variance
        self.wiggle = wiggle
        self.times: list[float] = []
        g = torch.Generator().manual_seed(7)
        self.mix = torch.randn(SHAPE[0], SHAPE[0], 3, 3, generator=g) / 4

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        t = float(t)
        self.times.append(t)
        # Between two steps the level is interpolated, as a network interpolates its embedding.
        low = min(max(int(t // 1), 0), len(self.alphas_cumprod) - 1)
        high = min(low + 1, len(self.alphas_cumprod) - 1)
        a = torch.lerp(self.alphas_cumprod[low], self.alphas_cumprod[high], t % 1)
        a = a.to(x.dtype)
        sigma, alpha = (1 - a).sqrt(), a.sqrt()
        mixed = torch.nn.functional.conv2d(x, self.mix.to(x.dtype), padding=1)
        wave = torch.tanh(mixed + t / 300)
        eps = sigma * x / (0.09 * a + 1 - a) + self.wiggle * alpha * sigma * wave
        match self.prediction_type:
            case "epsilon":
                output = eps
            case "sample":
                output = (x - sigma * eps) / alpha
            case _:
                output = (eps - sigma * x) / alpha
        if self.variance == "log":  # around the true log-variance of small steps
            return torch.cat((output, -6 + 0.5 * wave), dim=1)
        if self.variance == "range":
            return torch.cat((output, wave), dim=1)
        return output


class Exact:
    """Knows the image: whatever the time, it returns exactly the noise that leads from x_t to x0.

    Every right sampler that does not clip ends at ``x0``, however its steps are spaced.
    """

    def __init__(self, config: SchedulerConfig, first: int, x_t: Tensor):
        a = NoiseSchedule.from_config(config).alphas_cumprod[first]
        g = torch.Generator().manual_seed(3)
        self.x0 = torch.rand(x_t.shape, generator=g) * 1.6 - 0.8
        self.eps = (x_t - a.sqrt() * self.x0) / (1 - a).sqrt()

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.eps
