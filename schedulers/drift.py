"""Detects settings of a run that pull the brightness of its pictures towards middle grey.

Two do so if a model's pictures are mostly dark or bright (Lin et al. 2024, arXiv 2305.08891): a
list of timesteps that starts where the model expects more than noise, and clipping, which cuts off
more on one side. Both displace the mean of x_t, from which the model judges the brightness. The
displacement is measured relative to the mean's standard deviation, sigma / sqrt(N) for N values of
noise of the level sigma.
"""

import math
from itertools import pairwise
from typing import Literal

from torch import Tensor

from .ddim import DDIM
from .prediction import clip_x0
from .sampler import Evaluation, Sampler, ScheduleSampler

Cause = Literal["clipping", "late_start"]

# In standard deviations. Clipping: 0.01 to 0.10 for digits-16 in 4 to 250 steps, which it does not
# harm; 0.20 to 1.4 for a model of skies that it made half as bright again. A late start:
# deep-field's skies are unchanged at 1.3, a little brighter at 3.3, and grey at 11.
_CLIPPING, _LATE_START = 0.15, 3.0


class Drift:
    """Follows a run, evaluation by evaluation.

    Args:
        sampler: the run's. Of the samplers that clip only DDIM is judged: the noise that it keeps
            does not fit the clipped image, while DDPM's steps make up for it.
        values: N, of one image of the size that the model was trained with.
    """

    def __init__(self, sampler: Sampler, values: int):
        self._sampler, self._values = sampler, values
        self._clipped = 0.0
        self._config = sampler.config if isinstance(sampler, DDIM) else None
        self._next = dict(pairwise(sampler.span.timesteps))

    def __call__(self, evaluation: Evaluation) -> None:
        """Add the effect of clipping this evaluation's image."""
        config, following = self._config, self._next.get(int(evaluation.t))
        if config is None or following is None or not (config.clip_sample or config.thresholding):
            return
        sigma, lower = (self._sampler.level(t)[1].item() for t in (evaluation.t, following))
        if lower > 1:  # at lower noise, the picture itself shows how bright it is
            x0 = evaluation.x0
            moved = (clip_x0(x0, config).mean() - x0.mean()).item()
            # Integrated over log sigma, so it hardly depends on the number of steps.
            self._clipped += moved * math.sqrt(self._values) / sigma * math.log(sigma / lower)

    def cause(self, images: Tensor, *, from_noise: bool) -> Cause | None:
        """Return what may have changed the brightness of these results, if anything.

        Args:
            images: shape (B, C, H, W), in -1..1.
            from_noise: whether the run began with pure noise.
        """
        if abs(self._clipped) >= _CLIPPING:
            return "clipping"
        if not isinstance(self._sampler, ScheduleSampler) or not from_noise:
            return None
        start = self._sampler.level(self._sampler.span.timesteps[0])[1].item()
        missing = images.clamp(-1, 1).mean().abs().item() * math.sqrt(self._values) / start
        return "late_start" if missing >= _LATE_START else None
