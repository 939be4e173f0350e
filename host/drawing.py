"""Draw the same images with many samplers, one after another."""

import comfy.utils
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..schedulers.errors import UserError
from ..schedulers.sampler import Sampler
from .latents import empty_latent
from .sampling import quietly, run_sampler


class Drawing:
    """Draws the same images with one sampler after another, with one progress bar for all."""

    def __init__(
        self, model: ModelPatcher, seed: int, images: int, class_label: int, evaluations: int
    ):
        self._model, self._seed, self._images = model, seed, images
        self._label = None if class_label == -1 else class_label
        self._latent = empty_latent(model, images)
        self._bar = comfy.utils.ProgressBar(evaluations)

    def __call__(self, sampler: Sampler, held_back: bool) -> Tensor:
        seed = self._seed + (self._images if held_back else 0)
        with quietly():
            sampled = run_sampler(
                self._model,
                sampler,
                self._latent,
                seed,
                "noise",
                self._label,
                callback=lambda *_: self._bar.update(1),
            )
        if sampled.lost:
            raise UserError(
                f"With the seeds {', '.join(map(str, sampled.lost[:10]))} this model gives NaN "
                "or infinite values, so no timesteps can be found. Choose another seed, or "
                "dtype float32 in the loader."
            )
        return sampled.latent["samples"]
