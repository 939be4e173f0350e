"""The driver: one of our samplers as the host's SAMPLER, with its progress, preview and cancel."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ..schedulers.randomness import SeededNoise
from ..schedulers.repaint import Known, RePaint
from ..schedulers.sampler import Evaluation, Sampler, ScheduleSampler, drain
from ..schedulers.timesteps import END
from . import leftover
from .guided_model import GuidedModel
from .image_patch import without_clipping
from .noise import BatchSeed
from .precision import computes_float64
from .restoration import finish

logger = logging.getLogger(__name__)

Start = Literal["noise", "noised", "as is", "data"]
"""What a run starts from: noise alone, the noised LATENT, or a LATENT with leftover noise. An
inversion starts from the images of a LATENT and ends with noise."""

MakeSampler = Callable[[Any, Tensor], Sampler]
"""(the model's ``model_sampling``, sigmas of shape (N + 1,)) -> the sampler."""


class HostSampler(comfy.samplers.Sampler):
    """One of our samplers as the host's SAMPLER.

    Args:
        make_sampler: makes the sampler once the model is known.
        start: what a run starts from. None: as in the host's samplers, the LATENT, noised to the
            first sigma; noise alone if that is full noise and the LATENT is empty.
        class_label: for a network of ours.
        known: the image outside a mask, shape (B, C, H, W); None: the LATENT.
        seeds: of each image; None: derived from the host's seed.
        on_evaluation: called with each evaluation.
    """

    def __init__(
        self,
        make_sampler: MakeSampler,
        start: Start | None = None,
        *,
        class_label: int | None = None,
        known: Tensor | None = None,
        seeds: Sequence[int] | None = None,
        on_evaluation: Callable[[Evaluation], object] | None = None,
    ):
        self._make_sampler, self._start = make_sampler, start
        self._class_label, self._known, self._seeds = class_label, known, seeds
        self._on_evaluation = on_evaluation
        self.seconds = 0.0
        """How long the last run took, without loading the model."""

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable[[int, Tensor, Tensor, int], object] | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Sample; the host calls this on every sampler.

        Args:
            model_wrap: the guider, which is called with the host's x and sigma.
            sigmas: descending, shape (N + 1,).
            extra_args: the model's options and the seed.
            callback: (evaluations so far - 1, predicted image, host's x, all evaluations).
            noise: initial noise, shape (B, C, H, W).
            latent_image: shape (B, C, H, W); with leftover noise, in the host's scale, which is x_t
                divided by its own scale (see ``Sampler``).
            denoise_mask: shape (B, C, H, W), 1 where the image is made.
            disable_pbar: for the terminal's progress bar; ours has none.

        Returns:
            Shape (B, C, H, W), float32; in the host's scale if the last sigma is not 0.
        """
        model_sampling = model_wrap.inner_model.model_sampling
        started = time.perf_counter()
        model_options = extra_args["model_options"]
        sampler = without_clipping(self._make_sampler(model_sampling, sigmas), model_options)
        latent = torch.zeros_like(noise) if latent_image is None else latent_image
        start = self._start
        if start is None:
            assert isinstance(sampler, ScheduleSampler)
            whole = sampler.begins_with_noise and not latent.any()
            start = "noise" if whole else "noised"

        # The known image, and the noise that is added to it at each evaluation.
        known = latent if self._known is None else self._known.to(latent)
        seeds = self._seeds or BatchSeed.images_of(extra_args.get("seed") or 0, len(noise))
        known_noise = noise
        if self._start is None and denoise_mask is not None and not noise.any():
            leftover.check_known(latent, denoise_mask)
            known_noise = SeededNoise(seeds, tuple(noise.shape[1:]))().to(noise)
        mask_of_model = denoise_mask
        if isinstance(sampler, RePaint) and denoise_mask is not None:
            sampler = replace(sampler, known=Known(known, denoise_mask))
            mask_of_model = None  # it puts the known image there itself

        # The first x_t.
        if start == "noise":
            x = sampler.begin(noise)
        elif start == "noised":
            x = sampler.add_noise(latent, noise)
        elif start == "data":
            x = latent
        else:
            x = sampler.level(sampler.span.timesteps[0])[0] * latent

        if sampler.PRECISE and computes_float64(x.device):
            x = x.double()

        # The image's own draws: the first was the initial noise, then one for each step.
        draws = SeededNoise(seeds, tuple(noise.shape[1:]), _raise_if_cancelled)
        draws.skip(1 + sampler.span.skipped)

        model = GuidedModel(
            model_wrap,
            sampler,
            sigmas=sigmas,
            extra_args=extra_args,
            noise=known_noise,
            known=known,
            mask=mask_of_model,
            class_label=self._class_label,
        )
        progress = _Progress(sampler, seeds, callback, self._on_evaluation)
        x = drain(sampler.sample(model, x, draws), progress)
        if start == "data":
            pass  # noise is neither in the host's scale nor a finished image
        elif sampler.span.end != END:
            x = x / sampler.level(sampler.span.end)[0]
            if self._start is None and denoise_mask is not None:
                x, host = leftover.leave(x, known, denoise_mask), model_wrap.inner_model
                # As the next sampler will receive it.
                left = host.process_latent_in(host.process_latent_out(x))
                leftover.remember(left, denoise_mask)
        else:
            x = finish(x, model_options)
            if denoise_mask is not None:
                x = torch.where(denoise_mask == 0, known, x)
        _check_finite(x, seeds)
        self.seconds = time.perf_counter() - started
        return x


def _raise_if_cancelled() -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


class _Progress:
    """Reports each evaluation to the host."""

    def __init__(
        self,
        sampler: Sampler,
        seeds: Sequence[int],
        callback: Callable[[int, Tensor, Tensor, int], object] | None,
        on_evaluation: Callable[[Evaluation], object] | None,
    ):
        self._sampler, self._seeds, self._callback = sampler, seeds, callback
        self._on_evaluation, self._done = on_evaluation, 0

    def __call__(self, evaluation: Evaluation) -> None:
        # The callback does so too, but not at each evaluation.
        _raise_if_cancelled()
        if not self._done:
            _check_finite(evaluation.output, self._seeds)
        if self._on_evaluation is not None:
            self._on_evaluation(evaluation)
        if self._callback is not None:
            x = evaluation.x_t / self._sampler.level(evaluation.t)[0]
            self._callback(self._done, evaluation.x0, x, self._sampler.evaluations)
        self._done += 1


class NoPictureError(ValueError):
    """Raised if no image of a run is finite."""


def finite(images: Tensor) -> list[bool]:
    """Return which of the images are finite throughout."""
    return images.isfinite().flatten(1).all(1).tolist()


def _check_finite(images: Tensor, seeds: Sequence[int]) -> None:
    """Log which images are not finite.

    Raises:
        NoPictureError: none is finite.
    """
    good = finite(images)
    if not any(good):
        raise NoPictureError(
            "The result contains NaN or infinite values, so there is no picture. With float16, "
            "choose dtype float32 or bfloat16 in the loader. Otherwise the noise schedule does "
            "not fit the model, or the model is broken."
        )
    lost = [str(seed) for seed, is_good in zip(seeds, good, strict=True) if not is_good]
    if lost:
        logger.warning(
            "%d of %d images contain NaN or infinite values: those with the seeds %s.",
            len(lost),
            len(good),
            ", ".join(lost),
        )
