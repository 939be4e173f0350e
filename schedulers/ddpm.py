"""DDPM: ancestral sampling (Ho et al. 2020, algorithm 2), with any number of steps."""

from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor

from .config import VarianceType
from .errors import ScheduleError, check_choice
from .prediction import clip_x0, to_x0_eps
from .sampler import Evaluation, Model, Noise, Sampling, ScheduleSampler
from .timesteps import END, step_pairs


@dataclass(frozen=True)
class DDPM(ScheduleSampler):
    """DDPM, with one evaluation for each timestep, and noise in each step but the last to the data.

    With a learned variance the model returns 2C channels; a ``ScheduleError`` is raised while
    sampling if it does not.

    Attributes:
        variance_type: None uses the one in ``config``.

    Raises:
        ScheduleError: there is no such variance type.
    """

    variance_type: VarianceType | None = None

    def __post_init__(self) -> None:
        check_choice("variance_type", self._kind, get_args(VarianceType))

    @property
    def _kind(self) -> VarianceType:
        return self.variance_type or self.config.variance_type

    @property
    def settings(self) -> dict[str, Any]:
        return {"sampler": "DDPM", "variance_type": self._kind}

    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        config, kind, alphas_cumprod = self.config, self._kind, self._alphas_cumprod
        channels = x.shape[1]

        for t, t_prev in step_pairs(self.span.timesteps, self.span.end):
            prediction, learned = _split(model(x, t), channels, kind)
            a, a_prev = alphas_cumprod[t], self._one if t_prev == END else alphas_cumprod[t_prev]

            # The image that the model predicts (eq. 15, solved for x0).
            x0, _ = to_x0_eps(prediction, x, a, config.prediction_type)
            yield Evaluation(t, x, prediction, x0)
            x0 = clip_x0(x0, config)

            # The mean of the posterior q(x_{t-1} | x_t, x0) (eq. 7); between any two times of the
            # list, alpha is the ratio of their cumulative products.
            alpha = a / a_prev
            beta = 1 - alpha
            mean = (a_prev.sqrt() * beta / (1 - a)) * x0 + (
                alpha.sqrt() * (1 - a_prev) / (1 - a)
            ) * x

            # The step that ends at the data has no noise (algorithm 2, line 3).
            if t_prev == END:
                x = mean
            else:
                std = _std(kind, a, a_prev, beta, learned)
                x = mean + std * noise().to(x)
        return x


def _split(output: Tensor, channels: int, kind: VarianceType) -> tuple[Tensor, Tensor | None]:
    """Return the prediction and, if ``kind`` needs it, the learned variance."""
    if not kind.startswith("learned"):
        return output[:, :channels], None
    if output.shape[1] != 2 * channels:
        raise ScheduleError(
            f"variance_type '{kind}' needs a model that also predicts its variance "
            f"({2 * channels} output channels), but this one has {output.shape[1]}. "
            "Choose fixed_small or fixed_large."
        )
    return output[:, :channels], output[:, channels:]


def _std(
    kind: VarianceType, a: Tensor, a_prev: Tensor, beta: Tensor, learned: Tensor | None
) -> Tensor:
    """Return the standard deviation of the noise to add: 0-d, or (B, C, H, W) if learned."""
    # The two ends of the range of sensible variances (section 3.2).
    smallest = ((1 - a_prev) / (1 - a) * beta).clamp(min=1e-20)
    match kind:
        # The log forms are for numerical stability only: the variances are the same.
        case "fixed_small" | "fixed_small_log":
            return smallest.sqrt()
        case "fixed_large" | "fixed_large_log":
            return beta.sqrt()
    assert learned is not None
    # Nichol & Dhariwal 2021: the log-variance itself, or (eq. 15) its position between the ends.
    if kind == "learned":
        return (0.5 * learned).exp()
    fraction = (learned + 1) / 2
    return (0.5 * (fraction * beta.log() + (1 - fraction) * smallest.log())).exp()
