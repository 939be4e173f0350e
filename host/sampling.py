"""The driver that drains a sampler inside the host's, with its progress, preview and cancel."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import comfy.model_management
import comfy.samplers
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..schedulers.evaluation import Evaluation, drain
from ..schedulers.prediction import add_noise
from ..schedulers.randomness import SeededNoise
from ..schedulers.run import Run
from ..schedulers.timesteps import END, begins_with_noise, warn_of_late_start
from . import leftover
from .guided_model import HostCall
from .model import own_schedule, unconditional_model
from .model_sampling import SMALLEST_ALPHA_CUMPROD
from .noise import BatchSeed, ImageNoise, keep_images
from .precision import exact_float32

logger = logging.getLogger(__name__)

Start = Literal["noise", "noised", "as is"]
"""What a run starts from: noise alone, the noised LATENT, or a LATENT with its noise left over."""

MakeRun = Callable[[Any, Tensor], Run]
"""(the model's ``model_sampling``, sigmas of shape (N + 1,)) -> what runs."""


class HostSampler(comfy.samplers.Sampler):
    """One of our samplers as the host's SAMPLER.

    Args:
        make_run: decides what runs, when the model is known.
        start: what from; None: as the host's samplers, from the LATENT, noised as far as the sigmas
            say; from noise alone where they begin with that and the LATENT is empty.
        class_label: for a network of ours.
        known: what stands outside a mask, shape (B, C, H, W); None: the LATENT.
    """

    def __init__(
        self,
        make_run: MakeRun,
        start: Start | None = None,
        class_label: int | None = None,
        known: Tensor | None = None,
    ):
        self._make_run, self._start = make_run, start
        self._class_label, self._known = class_label, known

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
        """Sample, as the host asks every sampler to.

        Args:
            model_wrap: the guider, which is called with the host's x and sigma.
            sigmas: descending, shape (N + 1,).
            extra_args: the model's options and the seed.
            callback: (evaluations so far - 1, predicted image, host's x, all evaluations).
            noise: initial noise, shape (B, C, H, W).
            latent_image: shape (B, C, H, W); with noise left over, in the host's scale, which is
                x_t / sqrt(alphas_cumprod[t]).
            denoise_mask: shape (B, C, H, W), 1 where the image is made.
            disable_pbar: of the terminal; ours has none.

        Returns:
            Shape (B, C, H, W), float32; where the last sigma is not 0, in the host's scale.
        """
        model_sampling = model_wrap.inner_model.model_sampling
        run = self._make_run(model_sampling, sigmas)
        latent = torch.zeros_like(noise) if latent_image is None else latent_image
        T = len(model_sampling.sigmas)
        whole = begins_with_noise(run.span.timesteps, T) and not latent.any()
        start = self._start or ("noise" if whole else "noised")

        # What is known, and the noise that it is shown with at each evaluation.
        known = latent if self._known is None else self._known.to(latent)
        seeds = BatchSeed.images_of(extra_args.get("seed") or 0, len(noise))
        known_noise = noise
        if self._start is None and denoise_mask is not None and not noise.any():
            leftover.check_known(latent, denoise_mask)
            known_noise = SeededNoise(seeds, tuple(noise.shape[1:]))().to(noise)

        # The first x_t.
        first = _alpha_cumprod(run, run.span.timesteps[0])
        if start == "noise":
            x = noise
        elif start == "noised":
            x = add_noise(latent, noise, first)
        else:
            x = first.sqrt() * latent

        # The image's own draws: the first was the initial noise, then one for each step.
        draws = SeededNoise(seeds, tuple(noise.shape[1:]), _raise_if_cancelled)
        draws.skip(1 + run.span.skipped)

        call = HostCall(
            model_wrap,
            run,
            sigmas=sigmas,
            extra_args=extra_args,
            noise=known_noise,
            known=known,
            mask=denoise_mask,
            class_label=self._class_label,
        )
        x = drain(run.start(call, x, draws), _Progress(run.evaluations, seeds, callback))
        if run.span.end != END:
            x = x / _alpha_cumprod(run, run.span.end).sqrt()
            if self._start is None and denoise_mask is not None:
                x, host = leftover.leave(x, known, denoise_mask), model_wrap.inner_model
                # As the next sampler will be given it.
                left = host.process_latent_in(host.process_latent_out(x))
                leftover.remember(left, denoise_mask)
        elif denoise_mask is not None:
            x = torch.where(denoise_mask == 0, known, x)
        _check_finite(x, seeds)
        return x


def _alpha_cumprod(run: Run, t: int) -> Tensor:
    return run.alpha_cumprod(t).clamp(min=SMALLEST_ALPHA_CUMPROD)


def _raise_if_cancelled() -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


class _Progress:
    """Tells the host of each evaluation."""

    def __init__(
        self,
        total: int,
        seeds: Sequence[int],
        callback: Callable[[int, Tensor, Tensor, int], object] | None,
    ):
        self._total, self._seeds, self._callback, self._done = total, seeds, callback, 0

    def __call__(self, evaluation: Evaluation) -> None:
        # The callback asks too, but not at each evaluation.
        _raise_if_cancelled()
        if not self._done:
            _check_finite(evaluation.output, self._seeds)
        if self._callback is not None:
            x = evaluation.x_t / evaluation.alpha_cumprod.clamp(SMALLEST_ALPHA_CUMPROD).sqrt()
            self._callback(self._done, evaluation.x0, x, self._total)
        self._done += 1


def _finite(images: Tensor) -> list[bool]:
    """Return which of the images are finite throughout."""
    return images.isfinite().flatten(1).all(1).tolist()


def _check_finite(images: Tensor, seeds: Sequence[int]) -> None:
    """Log which images are not finite.

    Raises:
        ValueError: none is finite.
    """
    finite = _finite(images)
    if not any(finite):
        raise ValueError(
            "The result contains NaN or infinite values, so there is no picture. With float16 "
            "choose dtype float32 or bfloat16 in the loader; else the noise schedule does not fit "
            "the model, or the model is broken."
        )
    lost = [str(seed) for seed, good in zip(seeds, finite, strict=True) if not good]
    if lost:
        logger.warning(
            "%d of %d images contain NaN or infinite values: those with the seeds %s.",
            len(lost),
            len(finite),
            ", ".join(lost),
        )


@dataclass(frozen=True)
class Sampled:
    """What a run made.

    Attributes:
        latent: the LATENT with the images, unclipped, float32, shape (B, C, H, W), model range
            about -1..1, on the host's intermediate device.
        seeds: of each image.
        lost: the seeds of images that came out with NaN or infinite values; the LATENT is without
            them, and has a ``batch_index`` from which the others keep their seeds.
    """

    latent: dict[str, Any]
    seeds: Sequence[int]
    lost: Sequence[int] = ()


def run_sampler(
    patcher: ModelPatcher,
    run: Run,
    latent: dict[str, Any],
    seed: int,
    *,
    start: Start = "noise",
    class_label: int | None = None,
) -> Sampled:
    """Sample the images of a LATENT with a MODEL of ours.

    Args:
        patcher: the MODEL.
        run: the sampler.
        latent: its ``samples`` have the model's channels; ``batch_index`` and ``noise_mask`` count.
        seed: that of the image with batch_index 0.
        start: what from.
        class_label: of all images; None where the model has no classes.

    Raises:
        ValueError: no image is finite, the MODEL is of another kind or was trained on sigmas, the
            label is missing, unexpected or out of range, or what stands outside a mask cannot be
            kept.
    """
    model = unconditional_model(patcher)
    if model.unet_config.is_variance_exploding:
        raise ValueError(
            "This model cannot be sampled by PNDM, DDPM or DDIM: it is variance-exploding "
            "(NCSN++, time_embedding_type 'fourier'), trained on noise levels (sigmas) that are "
            "added to the image, where these samplers pass timesteps 0 .. T-1 of a process that "
            "fades the image out. Use a model with positional time embedding."
        )
    model.unet_config.check_class_label(class_label)
    if start == "noise":
        warn_of_late_start(run.span.timesteps[0], own_schedule(patcher).num_train_timesteps)

    samples, known, masked = latent["samples"], None, latent.get("noise_mask") is not None
    if start == "as is" and masked:
        samples, known = leftover.find_known(latent)
    noise = ImageNoise(seed)
    initial = noise.generate_noise(latent)
    guider = comfy.samplers.CFGGuider(patcher)
    guider.set_conds([[None, {}]], [[None, {}]])
    with exact_float32():
        made = guider.sample(
            initial,
            samples,
            HostSampler(lambda *_: run, start, class_label, known),
            _sigmas(run),
            denoise_mask=latent.get("noise_mask"),
            callback=latent_preview.prepare_callback(patcher, run.evaluations),
            disable_pbar=True,
            seed=noise.seed,
        )
    made = made.to(comfy.model_management.intermediate_device())
    result = {**latent, "samples": made}
    result.pop(leftover.KEY, None)
    if run.span.end != END and masked:
        result = leftover.with_known(result, made, samples if known is None else known)

    seeds = BatchSeed.images_of(noise.seed, len(made))
    finite = _finite(made)
    if all(finite):
        return Sampled(result, seeds)
    kept = [k for k, good in enumerate(finite) if good]
    lost = [seed for seed, good in zip(seeds, finite, strict=True) if not good]
    return Sampled(keep_images(result, kept), [seeds[k] for k in kept], lost)


def _sigmas(run: Run) -> Tensor:
    """The steps of a run as the host writes them; what other nodes put on a model may ask."""
    span = run.span
    alphas = [_alpha_cumprod(run, t) for t in span.timesteps]
    sigmas = [((1 - a) / a).sqrt().item() for a in alphas]
    a = torch.ones(()) if span.end == END else _alpha_cumprod(run, span.end)
    return torch.tensor([*sigmas, ((1 - a) / a).sqrt().item()])
