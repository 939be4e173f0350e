"""From a sampler's settings to a LATENT: what all sampler nodes do once their inputs are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.latents import empty_latent, fit_latent
from ..host.model import own_schedule, unconditional_model
from ..host.model_record import describe_model
from ..host.run_report import no_run_report, run_report, timed
from ..host.sampling import Start, run_sampler
from ..pictures.provenance import KEY, Record, make_records
from ..schedulers.config import SchedulerConfig
from ..schedulers.ddim import ddim_run
from ..schedulers.ddpm import ddpm_run
from ..schedulers.errors import ScheduleError, check_choice
from ..schedulers.pndm import pndm_run
from ..schedulers.pndm_grid import list_timesteps
from ..schedulers.run import Run, Stretch
from ..schedulers.timesteps import make_timesteps

ENABLE = ("enable", "disable")


@dataclass(frozen=True)
class Recipe:
    """A sampler with its settings, for any stretch of steps; the settings are kept in pictures."""

    settings: Record
    make_run: Callable[[Stretch], Run]


def pndm(config: SchedulerConfig, method: Any, convention: Any) -> Recipe:
    """Return PNDM."""

    def make_run(stretch: Stretch) -> Run:
        span = stretch.of(list_timesteps(config, stretch.steps, convention, stretch.whole))
        return pndm_run(config, span, method=method, convention=convention)

    return Recipe({"sampler": "PNDM", "method": method, "convention": convention}, make_run)


def ddpm(config: SchedulerConfig, variance_type: Any) -> Recipe:
    """Return DDPM; the variance type "model" is that of the model's file."""
    variance = config.variance_type if variance_type == "model" else variance_type

    def make_run(stretch: Stretch) -> Run:
        span = stretch.of(make_timesteps(config, stretch.steps, stretch.whole))
        return ddpm_run(config, span, variance_type=variance)

    return Recipe({"sampler": "DDPM", "variance_type": variance}, make_run)


def ddim(config: SchedulerConfig, eta: float) -> Recipe:
    """Return DDIM."""

    def make_run(stretch: Stretch) -> Run:
        span = stretch.of(make_timesteps(config, stretch.steps, stretch.whole))
        return ddim_run(config, span, eta=eta)

    return Recipe({"sampler": "DDIM", "eta": eta}, make_run)


def sample(
    model: ModelPatcher,
    recipe: Recipe,
    *,
    seed: int,
    steps: int,
    batch_size: int,
    class_label: int,
    latent: dict[str, Any] | None = None,
    denoise: float = 1.0,
) -> io.NodeOutput:
    """Sample from noise, or from a noised latent where ``denoise`` is below 1."""
    stretch = Stretch.of_denoise(steps, denoise, own_schedule(model).num_train_timesteps)
    settings: Record = {"steps": steps}
    if latent is None:
        if stretch.begins_with_image:
            raise ScheduleError(
                f"denoise {denoise} begins with an image, but no latent is connected. Connect "
                "'Image to Pixel Latent', or set denoise to 1."
            )
        if batch_size < 1:
            raise ScheduleError(f"batch_size must be at least 1, not {batch_size}.")
        latent = empty_latent(unconditional_model(model).unet_config, batch_size)
    if stretch.begins_with_image:
        settings["denoise"] = denoise
    if stretch.steps < steps:
        settings["steps_run"] = stretch.steps
    start: Start = "noised" if stretch.begins_with_image else "noise"
    return _run(model, recipe, stretch, latent, start, seed, class_label, settings)


def sample_part(
    model: ModelPatcher,
    recipe: Recipe,
    *,
    add_noise: str,
    seed: int,
    steps: int,
    latent: dict[str, Any],
    start_at_step: int,
    end_at_step: int,
    return_with_leftover_noise: str,
    class_label: int,
) -> io.NodeOutput:
    """Run some of the steps of a list, as the host's KSamplerAdvanced does."""
    for name, value in (
        ("add_noise", add_noise),
        ("return_with_leftover_noise", return_with_leftover_noise),
    ):
        check_choice(name, value, ENABLE)
    leftover = return_with_leftover_noise == "enable"
    stretch = Stretch(steps, start_at_step, end_at_step, leftover)
    settings = {
        "steps": steps,
        "add_noise": add_noise,
        "start_at_step": start_at_step,
        "end_at_step": min(end_at_step, steps),
        "return_with_leftover_noise": return_with_leftover_noise,
    }
    start: Start = "as is"
    if add_noise == "enable":
        start = "noised" if start_at_step else "noise"
    return _run(model, recipe, stretch, latent, start, seed, class_label, settings)


def _run(
    model: ModelPatcher,
    recipe: Recipe,
    stretch: Stretch,
    latent: dict[str, Any],
    start: Start,
    seed: int,
    class_label: int,
    settings: Record,
) -> io.NodeOutput:
    """Return a LATENT that knows how each of its images was made, and a report of the run."""
    if stretch.is_empty:
        return io.NodeOutput(latent, ui=no_run_report())
    latent = fit_latent(model, latent)
    run, seconds = timed(recipe.make_run(stretch))
    label = None if class_label == -1 else class_label
    sampled = run_sampler(model, run, latent, seed, start=start, class_label=label)
    asked = settings["steps"] if "steps_run" in settings else None
    per_image = seconds() / len(latent["samples"])
    report = run_report(run, per_image, asked=asked, lost=sampled.lost)
    record = {
        **recipe.settings,
        **settings,
        **({} if label is None else {"class_label": label}),
        "evaluations": run.evaluations,
        **describe_model(model),
    }
    samples = sampled.latent["samples"]
    kept = {**sampled.latent, KEY: make_records(samples, sampled.seeds, record)}
    return io.NodeOutput(kept, ui=report)
