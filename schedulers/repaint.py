"""RePaint: fills the hole of a known image (Lugmayr et al. 2022, arXiv 2201.09865, algorithm 1).

Each step draws the hole, and puts the known image around it, with the noise of the new time. The
model sees both parts together only in the next step. So from time to time the sampler jumps back:
it adds noise to the whole image and repeats the last steps, until the parts agree.

Jumps are placed as in diffusers' RePaintScheduler. The code of the paper's authors makes them one
step earlier, and none from the finished image.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .errors import ScheduleError
from .prediction import add_noise, clip_x0, to_x0_eps
from .sampler import Evaluation, Model, Noise, Sampling, ScheduleSampler
from .timesteps import END

PRESETS: dict[str, tuple[int, int, int]] = {
    "draft": (20, 5, 3),
    "good": (50, 10, 5),
    "paper": (250, 10, 10),
}
"""The steps, ``jump_length`` and ``resamplings`` of each preset."""


@dataclass(frozen=True, eq=False)
class Known:
    """The known part of the images of a batch.

    Attributes:
        image: shape (B, C, H, W).
        mask: 1 where the image is made, 0 where it is known; values between blend both. Broadcast
            to (B, C, H, W).
    """

    image: Tensor
    mask: Tensor

    def around(self, x: Tensor, noise: Tensor, a: Tensor) -> Tensor:
        """Return x in the hole and around it the known image, noised to ``a`` (eq. 8)."""
        mask = self.mask.to(x)
        return mask * x + (1 - mask) * add_noise(self.image.to(x), noise, a)


@dataclass(frozen=True, eq=False)
class RePaint(ScheduleSampler):
    """RePaint, with DDIM's steps in the hole, as diffusers' RePaintScheduler.

    Every step draws noise once, even if its weight is 0, and so does every step of a jump. So with
    as many steps as the model has timesteps, a seed gives the same image as in diffusers.

    Attributes:
        jump_length: how many steps a jump goes back. Jumps start where a multiple of it is left,
            unless they would end at pure noise.
        resamplings: how often the steps below a jump run in total; 1 means no jumps.
        eta: 0 (DDIM) to 1 (as much noise as DDPM, which the paper uses).
        known: the known part of a run's images; None before a run.

    Raises:
        ScheduleError: ``jump_length`` or ``resamplings`` is below 1, or ``eta`` is not in 0..1.
    """

    jump_length: int = 10
    resamplings: int = 10
    eta: float = 0.0
    known: Known | None = None

    def __post_init__(self) -> None:
        for name in ("jump_length", "resamplings"):
            if getattr(self, name) < 1:
                raise ScheduleError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.eta <= 1:
            raise ScheduleError(f"eta must be from 0 to 1, not {self.eta}.")

    @property
    def settings(self) -> dict[str, Any]:
        names = ("jump_length", "resamplings", "eta")
        return {"sampler": "RePaint", **{name: getattr(self, name) for name in names}}

    @property
    def evaluations(self) -> int:
        return len(self._order)

    @property
    def _order(self) -> list[int]:
        """The steps in running order; where two are not consecutive, there is a jump."""
        count, length = len(self.span.timesteps), self.jump_length
        order: list[int] = []
        for step in range(count):
            order.append(step)
            left = count - 1 - step
            if left % length == 0 and left < count - length:
                order += [*range(step + 1 - length, step + 1)] * (self.resamplings - 1)
        return order

    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        config, eta, known, times = self.config, self.eta, self.known, self.span.timesteps
        if known is None:
            raise ScheduleError("RePaint needs a known image and a mask.")
        end = self._one if self.span.end == END else self._alphas_cumprod[self.span.end]
        levels = [*(self._alphas_cumprod[t] for t in times), end]
        at = 0

        for step in self._order:
            # The jump, each of its steps from q(x_t | x_{t-1}) (line 10).
            for k in range(at, step, -1):
                x = add_noise(x, noise().to(x), levels[k - 1] / levels[k])

            t, a, a_prev = times[step], levels[step], levels[step + 1]
            output = model(x, t)[:, : x.shape[1]]
            x0, eps = to_x0_eps(output, x, a, config.prediction_type)
            yield Evaluation(t, x, output, x0)
            x0 = clip_x0(x0, config)

            # The hole: DDIM's step in place of the posterior of DDPM (line 7). The same noise
            # serves both parts, since each pixel takes but one of them.
            drawn = noise().to(x)
            sigma = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)).sqrt()
            direction = (1 - a_prev - sigma**2).clamp(min=0).sqrt() * eps
            x = a_prev.sqrt() * x0 + direction + sigma * drawn

            # The known image around it (lines 5 and 8).
            x = known.around(x, drawn, a_prev)
            at = step + 1
            del output, x0, eps, direction, drawn  # before the next call, as in DDIM
        return x
