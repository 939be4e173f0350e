"""DDIM: non-Markovian sampling (Song et al. 2021), deterministic at eta = 0."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .errors import ScheduleError
from .prediction import clip_x0, to_x0_eps
from .sampler import Evaluation, Model, Noise, Sampling, ScheduleSampler
from .timesteps import END, step_pairs


@dataclass(frozen=True)
class DDIM(ScheduleSampler):
    """DDIM, with one evaluation for each timestep.

    ``set_alpha_to_one`` defaults to True, as in diffusers' DDIMScheduler.

    Attributes:
        eta: 0 (deterministic) to 1 (as much noise as DDPM); above 0 each step draws noise once.

    Raises:
        ScheduleError: ``eta`` is not in 0..1.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ScheduleError(f"eta must be from 0 to 1, not {self.eta}.")

    @property
    def settings(self) -> dict[str, Any]:
        return {"sampler": "DDIM", "eta": self.eta}

    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        config, eta, alphas_cumprod = self.config, self.eta, self._alphas_cumprod
        final = alphas_cumprod[0] if config.set_alpha_to_one is False else self._one

        for t, t_prev in step_pairs(self.span.timesteps, self.span.end):
            output = model(x, t)[:, : x.shape[1]]
            a, a_prev = alphas_cumprod[t], final if t_prev == END else alphas_cumprod[t_prev]

            # "predicted x0" (eq. 12); the noise is not computed again from the clipped image.
            x0, eps = to_x0_eps(output, x, a, config.prediction_type)
            yield Evaluation(t, x, output, x0)
            x0 = clip_x0(x0, config)

            # sigma_t (eq. 16).
            sigma = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()

            # "direction pointing to x_t" and "random noise" (eq. 12).
            x = a_prev.sqrt() * x0 + (1 - a_prev - sigma**2).clamp(min=0).sqrt() * eps
            if eta > 0:
                x = x + sigma * noise().to(x)
            del output, x0, eps  # before the next call: each copy of a large image counts
        return x
