"""Consistency sampling: noise to image in one evaluation, or in a few that add noise again."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .consistency_model import ConsistencyConfig
from .errors import ScheduleError
from .sampler import Evaluation, Model, Noise, Sampler, Sampling
from .span import Span, Stretch
from .timesteps import END, check_steps, parse_timesteps, step_pairs


@dataclass(frozen=True)
class Consistency(Sampler):
    """Multistep consistency sampling (Song et al. 2023, algorithm 1), as in diffusers' pipeline.

    Its times are entries of the model's list of noise levels, of which 0 is the highest. The model
    returns the image itself. Each step but the last draws noise once.

    Attributes:
        config: the model's options.
        span: the entries, ascending.
    """

    config: ConsistencyConfig
    span: Span

    @classmethod
    def over(cls, config: ConsistencyConfig, stretch: Stretch) -> "Consistency":
        """Return the sampler over a stretch of evenly spaced entries.

        Raises:
            ScheduleError: there are more steps than entries.
        """
        T, N = config.num_train_timesteps, stretch.steps
        check_steps(N, T)
        if stretch.whole is None:
            entries = [i * (T // N) for i in range(N)]
        else:
            gap = T / stretch.whole
            entries = [int((stretch.whole - N + i) * gap + 1e-6) for i in range(N)]
        return cls(config, stretch.of(entries))

    @classmethod
    def at(cls, config: ConsistencyConfig, text: str, denoise: float = 1.0) -> "Consistency":
        """Return the sampler over entries that the user wrote as diffusers does: "22, 0".

        Args:
            config: the model's options.
            text: the entries, descending.
            denoise: the part of the model's list that may run, above 0; earlier entries are left
                out.

        Raises:
            ScheduleError: they are not entries in descending order; none is left; or the whole list
                may run and they do not end with 0, the only entry that can start from noise.
        """
        T = config.num_train_timesteps
        entries = parse_timesteps(text, T)[::-1]
        if denoise >= 1 and entries[0] != 0:
            raise ScheduleError(
                f"The timesteps of a consistency model must end with 0, not {entries[0]}: 0 is "
                "the highest noise level, where a run starts. Enter for example 22, 0."
            )
        first = T * (1 - denoise)
        left = tuple(entry for entry in entries if entry >= first - 1e-6)
        if not left:
            raise ScheduleError(
                f"With denoise {denoise:g} a run starts at timestep {first:g} of 0 to {T - 1} or "
                f"later, but the last in the list is {entries[-1]}. Use a higher denoise or add a "
                "higher timestep."
            )
        return cls(config, Span(left, skipped=len(entries) - len(left)))

    @property
    def settings(self) -> dict[str, Any]:
        return {"sampler": "Consistency", "timesteps": list(reversed(self.span.timesteps))}

    def level(self, t: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        return torch.ones((), dtype=dtype), torch.tensor(self.config.level(int(t)), dtype=dtype)

    def begin(self, noise: Tensor) -> Tensor:
        return self.config.sigma_max * noise

    def add_noise(self, x0: Tensor, noise: Tensor) -> Tensor:
        _, sigma = self.level(self.span.timesteps[0])
        return self.config.noised(x0, noise, sigma)

    def network_time(self, t: float) -> float:
        return self.config.time_of(int(t))

    def output_of(self, x0: Tensor, x_t: Tensor, t: float) -> Tensor:
        return x0

    def sample(self, model: Model, x: Tensor, noise: Noise) -> Sampling:
        config = self.config
        for entry, following in step_pairs(self.span.timesteps, self.span.end):
            x0 = model(x, entry)[:, : x.shape[1]]
            yield Evaluation(entry, x, x0, x0)

            # The image with the noise of the next level (algorithm 1, lines 4 and 5).
            x = x0
            if following != END:
                _, sigma = self.level(following)
                x = config.noised(x0, config.s_noise * noise().to(x0), sigma)
        return x
