"""From a MODEL and a LATENT to a LATENT: what all sampler nodes do once their inputs are read."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.samplers
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..pictures.provenance import KEY, Record, make_records
from ..schedulers import pndm, timesteps
from ..schedulers.bdia import BDIA
from ..schedulers.drift import Cause, Drift
from ..schedulers.errors import ScheduleError, check_choice
from ..schedulers.randomness import SeededNoise
from ..schedulers.sampler import Evaluation, Sampler
from ..schedulers.span import Stretch
from ..schedulers.timesteps import END
from . import leftover
from .composed_noise import as_noise
from .driver import HostSampler, Start, finite
from .image_patch import patches_of, without_clipping
from .inverted_noise import draw_back
from .latents import empty_latent, fit_latent
from .memory import sampled_at_once
from .model import UnconditionalModel
from .model_record import describe_model
from .noise import BatchSeed, Drawn, HeldNoise, keep_images, seeds_of
from .our_model import own_process, unconditional_model
from .page import Ui
from .precision import exact_float32
from .restoration import Restoration
from .run_report import no_run_report, run_report

ENABLE = ("enable", "disable")

OnEvaluation = Callable[[Evaluation], object]


def sample(
    model: ModelPatcher,
    make_sampler: Callable[[Stretch], Sampler],
    *,
    seed: int,
    steps: int,
    batch_size: int = 1,
    class_label: int,
    latent: dict[str, Any] | None = None,
    denoise: float = 1.0,
    spacing: str = "model",
    inputs: Record | None = None,
    noise: Any = None,
    on_evaluation: OnEvaluation | None = None,
) -> tuple[dict[str, Any], Ui]:
    """Sample from noise, or from a noised latent if ``denoise`` is below 1.

    The noise is ``noise``, NOISE or a LATENT, or that of ``seed``. Without a latent it also sets
    the size, and with several images their number. ``inputs`` is what a picture's record says about
    other inputs.

    Returns:
        The LATENT, with a record of how each image was made, and the report of the run.
    """
    stretch = Stretch.of_denoise(steps, denoise, own_process(model).num_train_timesteps)
    held = None if noise is None else as_noise(noise)
    settings: Record = {"steps": steps, **chosen_settings(spacing), **(inputs or {})}
    if latent is None:
        if stretch.begins_with_image:
            raise ScheduleError(
                f"denoise {denoise} starts from an image, but no latent is connected. Connect "
                "'Image to Pixel Latent', or set denoise to 1."
            )
        if batch_size < 1:
            raise ScheduleError(f"batch_size must be at least 1, not {batch_size}.")
        count, size = (held.count, held.size) if held else (None, None)
        latent = empty_latent(model, batch_size if count in (None, 1) else count, *(size or ()))
    if stretch.begins_with_image:
        settings["denoise"] = denoise
    if stretch.steps < steps:
        settings["steps_run"] = stretch.steps
    start: Start = "noised" if stretch.begins_with_image else "noise"
    if stretch.is_empty:
        return latent, no_run_report()
    sampler = make_sampler(stretch)
    return _run(model, sampler, latent, start, seed, class_label, settings, held, on_evaluation)


def sample_part(
    model: ModelPatcher,
    make_sampler: Callable[[Stretch], Sampler],
    *,
    add_noise: str,
    seed: int,
    steps: int,
    latent: dict[str, Any],
    start_at_step: int,
    end_at_step: int,
    return_with_leftover_noise: str,
    class_label: int,
    spacing: str = "model",
    noise: Any = None,
) -> tuple[dict[str, Any], Ui]:
    """Run some of the steps of a list, as the host's KSamplerAdvanced does.

    Returns:
        As ``sample``.
    """
    check_choice("add_noise", add_noise, ENABLE)
    check_choice("return_with_leftover_noise", return_with_leftover_noise, ENABLE)
    leftover = return_with_leftover_noise == "enable"
    stretch = Stretch(steps, start_at_step, end_at_step, leftover)
    settings = {
        "steps": steps,
        **chosen_settings(spacing),
        "add_noise": add_noise,
        "start_at_step": start_at_step,
        "end_at_step": min(end_at_step, steps),
        "return_with_leftover_noise": return_with_leftover_noise,
    }
    start: Start = "as is"
    if add_noise == "enable":
        start = "noised" if start_at_step else "noise"
    if stretch.is_empty:
        return latent, no_run_report()
    held = None if noise is None or start == "as is" else as_noise(noise)
    return _run(model, make_sampler(stretch), latent, start, seed, class_label, settings, held)


def chosen_settings(spacing: str) -> Record:
    """Return what a record says about the spacing; the model's own is in its file."""
    return {} if spacing == "model" else {"spacing": spacing}


def _run(
    model: ModelPatcher,
    sampler: Sampler,
    latent: dict[str, Any],
    start: Start,
    seed: int,
    class_label: int,
    settings: Record,
    held: HeldNoise | None,
    on_evaluation: OnEvaluation | None = None,
) -> tuple[dict[str, Any], Ui]:
    latent, drawn = fit_latent(model, latent), None
    label = None if class_label == -1 else class_label
    if held is not None:
        latent = _for_each(latent, held.count)
        drawn = held.draw(latent)
        if held.inversion is not None:
            sampler = draw_back(model, sampler, held.inversion, drawn.states, label)
    given: Any = {"start": start, "class_label": label, "on_evaluation": on_evaluation}
    sampled = _run_parts(model, sampler, latent, seed, drawn, given)
    each: list[Record] = [{"seed": seed} for seed in sampled.seeds]
    if drawn is not None:
        each = [
            {**own, "noise": drawn.records[k]} for own, k in zip(each, sampled.kept, strict=True)
        ]
    record = record_of(model, sampler, label, settings)
    kept = {**sampled.latent, KEY: make_records(sampled.latent["samples"], each, record)}
    report = run_report(
        sampler,
        sampled.seconds / len(latent["samples"]),
        asked=settings["steps"] if "steps_run" in settings else None,
        lost=sampled.lost,
        drift=sampled.drift,
    )
    return kept, report


def _run_parts(
    model: ModelPatcher,
    sampler: Sampler,
    latent: dict[str, Any],
    seed: int,
    drawn: Drawn | None,
    given: dict[str, Any],
) -> "Sampled":
    """Run a batch, in parts if a sampler's own tensors of all images do not fit into memory.

    It is not divided if the images belong together: in a trajectory, with leftover noise, with a
    patch that identifies an image by its place in the batch.
    """
    count = len(latent["samples"])
    size = sampled_at_once(latent["samples"].shape)
    together = given["on_evaluation"] or sampler.span.end != END or isinstance(sampler, BDIA)
    if size >= count or together or patches_of(model.model_options, Restoration):
        return run_sampler(model, sampler, latent, seed, drawn=drawn, **given)
    parts = [range(k, min(k + size, count)) for k in range(0, count, size)]
    total = len(parts) * sampler.evaluations
    callback = latent_preview.prepare_callback(model, total)
    found: list[Sampled] = []
    for k, part in enumerate(parts):

        def show(step: int, x0: Tensor, x: Tensor, _: int, done: int = k * sampler.evaluations):
            callback(done + step, x0, x, total)

        with quietly() if k else contextlib.nullcontext():
            of_part = drawn and drawn.of(part)
            taken = keep_images(latent, part)
            found.append(
                run_sampler(model, sampler, taken, seed, drawn=of_part, callback=show, **given)
            )
    kept = [part[k] for part, one in zip(parts, found, strict=True) for k in one.kept]
    rest = latent if len(kept) == count else keep_images(latent, kept)
    return Sampled(
        {**rest, "samples": torch.cat([one.latent["samples"] for one in found])},
        [one_seed for one in found for one_seed in one.seeds],
        kept,
        [one_seed for one in found for one_seed in one.lost],
        sum(one.seconds for one in found),
        next((one.drift for one in found if one.drift), None),
    )


def _for_each(latent: dict[str, Any], count: int | None) -> dict[str, Any]:
    """Return a LATENT of one image ``count`` times, any other unchanged.

    An image that was picked out of a batch, which has a ``batch_index``, stays the only one.
    """
    if len(latent["samples"]) > 1 or count in (None, 1) or "batch_index" in latent:
        return latent
    return {**latent, "samples": latent["samples"].repeat(count, 1, 1, 1)}


def record_of(
    model: ModelPatcher, sampler: Sampler, class_label: int | None, settings: Record
) -> Record:
    """Return how a run's images are made, except for their seeds.

    Args:
        model: the MODEL, with the patches of other nodes.
        sampler: the sampler that draws them.
        class_label: None: the model has no classes.
        settings: the user's choices: steps, spacing, …
    """
    record = {
        **sampler.settings,
        **settings,
        **({} if class_label is None else {"class_label": class_label}),
        "evaluations": sampler.evaluations,
        **describe_model(model),
    }
    if settings.get("spacing") == "optimised":  # which may be missing from the model's file
        record["timesteps"] = list(sampler.span.timesteps)
    return record


@dataclass(frozen=True)
class Sampled:
    """The result of a run.

    Attributes:
        latent: the LATENT with the images, unclipped, float32, shape (B, C, H, W), model range
            about -1..1, on the host's intermediate device.
        seeds: of each image.
        kept: the indices of these images in the given LATENT.
        lost: the seeds of images that contain NaN or infinite values; the LATENT leaves them out,
            and its ``batch_index`` gives the others their seeds.
        seconds: how long it took, without loading the model.
        drift: what may have changed the brightness of the images.
    """

    latent: dict[str, Any]
    seeds: Sequence[int]
    kept: Sequence[int]
    lost: Sequence[int]
    seconds: float
    drift: Cause | None


def run_sampler(
    patcher: ModelPatcher,
    sampler: Sampler,
    latent: dict[str, Any],
    seed: int,
    start: Start,
    class_label: int | None,
    on_evaluation: OnEvaluation | None = None,
    callback: Callable[[int, Tensor, Tensor, int], object] | None = None,
    drawn: Drawn | None = None,
) -> Sampled:
    """Sample the images of a LATENT with a MODEL of ours.

    Args:
        patcher: the MODEL.
        sampler: the sampler to run.
        latent: its ``samples`` have the model's channels; ``batch_index`` and ``noise_mask`` count.
        seed: of the image with batch_index 0.
        start: what the run starts from.
        class_label: of all images; None where the model has no classes.
        on_evaluation: called with each evaluation.
        callback: as ``HostSampler.sample`` calls it; None: the node's progress bar and preview.
        drawn: the initial noise; None: the noise of the seeds.

    Raises:
        ValueError: no image is finite, the MODEL is of another kind, the label is missing,
            unexpected or out of range, or the image outside a mask cannot be kept.
    """
    model = unconditional_model(patcher)
    model.unet_config.check_class_label(class_label)

    samples, known, masked = latent["samples"], None, latent.get("noise_mask") is not None
    if start == "as is" and masked:
        samples, known = leftover.find_known(latent)
    as_it_runs = without_clipping(sampler, patcher.model_options)
    drift = Drift(as_it_runs, _values_of_image(model, samples))

    def follow(evaluation: Evaluation) -> None:
        drift(evaluation)
        if on_evaluation is not None:
            on_evaluation(evaluation)

    if drawn is None:
        seeds = seeds_of(seed, latent)
        initial = SeededNoise(seeds, tuple(samples.shape[1:]))()
    else:
        seeds, initial = drawn.seeds(seed, latent), drawn.noise.float()
    host_sampler = HostSampler(
        lambda *_: sampler,
        start,
        class_label=class_label,
        known=known,
        seeds=seeds,
        on_evaluation=follow,
    )
    guider = comfy.samplers.CFGGuider(patcher)
    guider.set_conds([[None, {}]], [[None, {}]])
    with exact_float32():
        made = guider.sample(
            initial,
            samples,
            host_sampler,
            _sigmas(sampler),
            denoise_mask=latent.get("noise_mask"),
            callback=callback or latent_preview.prepare_callback(patcher, sampler.evaluations),
            disable_pbar=True,
            seed=BatchSeed.of(seed, seeds),
        )
    made = made.to(comfy.model_management.intermediate_device())
    result = {**latent, "samples": made}
    result.pop(leftover.KEY, None)
    if sampler.span.end != END and masked:
        result = leftover.with_known(result, made, samples if known is None else known)

    good = finite(made)
    kept = [k for k, is_good in enumerate(good) if is_good]
    if len(kept) < len(good):
        result = keep_images(result, kept)
    lost = [seed for seed, is_good in zip(seeds, good, strict=True) if not is_good]
    cause = drift.cause(result["samples"], from_noise=start == "noise")
    return Sampled(result, [seeds[k] for k in kept], kept, lost, host_sampler.seconds, cause)


def _values_of_image(model: UnconditionalModel, samples: Tensor) -> int:
    """Return the maximum number of values from which the model judges an image's brightness."""
    pixels = samples.shape[-2] * samples.shape[-1]
    if model.unet_config.sample_size is not None:
        pixels = min(pixels, math.prod(model.unet_config.size))
    return samples.shape[1] * pixels


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep a sampler's remarks on its timesteps out of the log, for one that runs many times."""
    loggers = (pndm.logger, timesteps.logger)
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _sigmas(sampler: Sampler) -> Tensor:
    """The steps of a run as the host writes them, for patches of other nodes that read them."""
    span = sampler.span
    sigmas = [sampler.level(t)[1].item() for t in span.timesteps]
    return torch.tensor([*sigmas, 0 if span.end == END else sampler.level(span.end)[1].item()])
