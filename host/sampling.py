"""The driver that drains a sampler inside the host's, with its progress, preview and cancel."""

from collections.abc import Callable, Sequence
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
from ..schedulers.timesteps import END, warn_of_late_start
from .call import HostCall
from .model import own_schedule, unconditional_model
from .model_sampling import SMALLEST_ALPHA_CUMPROD
from .noise import BatchSeed, ImageNoise
from .precision import exact_float32

Start = Literal["noise", "noised", "as is"]
"""What a run starts from: noise alone, the noised LATENT, or a LATENT with its noise left over."""

MakeRun = Callable[[Any, Tensor], Run]
"""(the model's ``model_sampling``, sigmas of shape (N + 1,)) -> what runs."""


_KNOWN = "unconditional_known"
"""In a LATENT with a mask and noise left over: what stands outside the mask, without noise."""


class HostSampler(comfy.samplers.Sampler):
    """One of our samplers as the host's SAMPLER.

    Args:
        make_run: decides what runs, when the model is known.
        start: what from; None: from noise alone where the LATENT is empty, else from it, noised.
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
        run = self._make_run(model_wrap.inner_model.model_sampling, sigmas)
        latent = torch.zeros_like(noise) if latent_image is None else latent_image
        start = self._start or ("noised" if latent.any() else "noise")

        known = latent if self._known is None else self._known.to(latent)

        # The first x_t.
        first = _alpha_cumprod(run, run.span.timesteps[0])
        if start == "noise":
            x = noise
        elif start == "noised":
            x = add_noise(latent, noise, first)
        else:
            x = first.sqrt() * latent

        # The image's own draws: the first was the initial noise, then one for each step.
        seeds = BatchSeed.images_of(extra_args.get("seed") or 0, len(noise))
        draws = SeededNoise(seeds, tuple(noise.shape[1:]))
        draws.skip(1 + run.span.skipped)

        call = HostCall(
            model_wrap,
            run,
            sigmas=sigmas,
            extra_args=extra_args,
            noise=noise,
            known=known,
            mask=denoise_mask,
            class_label=self._class_label,
        )
        x = drain(run.start(call, x, draws), _Progress(run.evaluations, callback))
        if run.span.end != END:
            return x / _alpha_cumprod(run, run.span.end).sqrt()
        return x if denoise_mask is None else torch.where(denoise_mask == 0, known, x)


def _alpha_cumprod(run: Run, t: int) -> Tensor:
    return run.alpha_cumprod(t).clamp(min=SMALLEST_ALPHA_CUMPROD)


class _Progress:
    """Tells the host of each evaluation."""

    def __init__(self, total: int, callback: Callable[[int, Tensor, Tensor, int], object] | None):
        self._total, self._callback, self._done = total, callback, 0

    def __call__(self, evaluation: Evaluation) -> None:
        # Raises when the user cancels; the callback asks too, but not at each evaluation.
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self._callback is not None:
            x = evaluation.x_t / evaluation.alpha_cumprod.clamp(SMALLEST_ALPHA_CUMPROD).sqrt()
            self._callback(self._done, evaluation.x0, x, self._total)
        self._done += 1


def run_sampler(
    patcher: ModelPatcher,
    run: Run,
    latent: dict[str, Any],
    seed: int,
    *,
    start: Start = "noise",
    class_label: int | None = None,
) -> tuple[dict[str, Any], Sequence[int]]:
    """Sample the images of a LATENT with a MODEL of ours.

    Args:
        patcher: the MODEL.
        run: the sampler.
        latent: its ``samples`` have the model's channels; ``batch_index`` and ``noise_mask`` count.
        seed: that of the image with batch_index 0.
        start: what from.
        class_label: of all images; None where the model has no classes.

    Returns:
        The LATENT with the images, unclipped, float32, shape (B, C, H, W), model range about
        -1..1, on the host's intermediate device; and the seed of each.

    Raises:
        ValueError: the result is not finite, the MODEL is of another kind or was trained on
            sigmas, or the label is missing, one too many or out of range.
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

    noise = ImageNoise(seed)
    known = latent.get(_KNOWN) if start == "as is" else None
    initial = noise.generate_noise(latent)
    guider = comfy.samplers.CFGGuider(patcher)
    guider.set_conds([[None, {}]], [[None, {}]])
    with exact_float32():
        samples = guider.sample(
            initial,
            latent["samples"],
            HostSampler(lambda *_: run, start, class_label, known),
            _sigmas(run),
            denoise_mask=latent.get("noise_mask"),
            callback=latent_preview.prepare_callback(patcher, run.evaluations),
            disable_pbar=True,
            seed=noise.seed,
        )
    if not torch.isfinite(samples).all():
        raise ValueError(
            "The result contains NaN or infinite values, so there is no picture. With float16 "
            "choose dtype float32 or bfloat16 in the loader; else the noise schedule does not fit "
            "the model, or the model is broken."
        )
    samples = samples.to(comfy.model_management.intermediate_device())
    result = {**latent, "samples": samples}
    result.pop(_KNOWN, None)
    if run.span.end != END and "noise_mask" in latent:
        result[_KNOWN] = latent["samples"] if known is None else known
    return result, BatchSeed.images_of(noise.seed, len(samples))


def _sigmas(run: Run) -> Tensor:
    """The steps of a run as the host writes them; what other nodes put on a model may ask."""
    span = run.span
    alphas = [_alpha_cumprod(run, t) for t in span.timesteps]
    sigmas = [((1 - a) / a).sqrt().item() for a in alphas]
    a = torch.ones(()) if span.end == END else _alpha_cumprod(run, span.end)
    return torch.tensor([*sigmas, ((1 - a) / a).sqrt().item()])
