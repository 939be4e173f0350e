"""A training run inside the host: its memory, its progress, Cancel, and what the node shows."""

import base64
import io as files
import statistics
import time
from dataclasses import dataclass, field
from itertools import count

import comfy.model_management
import comfy.utils
import torch
from PIL import Image
from torch import Tensor

from ..checkpoints.saving import checked_name
from ..pictures.contact_sheet import make_sheet, square_columns
from ..pictures.images import latent_to_image, to_bytes
from ..schedulers.errors import UserError
from ..training.card import write_card
from ..training.copying import CopyGauge, Copying
from ..training.network_in_training import training_size
from ..training.picture_set import as_floats
from ..training.plan import Plan
from ..training.preview import EVALUATIONS, draw
from ..training.processes import Processes
from ..training.state import SETTINGS, changed_settings
from ..training.trainer import TrainingRun
from .folders import model_names, saved_models
from .training_page import Report, Reporter

PREVIEWS = 16
"""Images in a preview, with the seeds 0 to 15."""

_SHEET = 768
"""The largest side of a preview's sheet, in pixels."""

# A forward pass takes about a third of a training step.
_FORWARD = 1 / 3


@dataclass
class Clock:
    """Estimates how long a run will take, from what its steps and previews have taken so far."""

    per_step: list[float] = field(default_factory=list)
    per_preview: list[float] = field(default_factory=list)

    def seconds_left(self, steps: int, previews: int, batch_size: int) -> float | None:
        """Return an estimate, or None before ten steps.

        Args:
            steps, previews: how many are left.
            batch_size: pictures in a step.
        """
        if len(self.per_step) < 10:
            return None
        step = statistics.median(self.per_step[-100:])
        guess = 2 * EVALUATIONS * PREVIEWS / batch_size * step * _FORWARD
        return steps * step + previews * statistics.median(self.per_preview or [guess])


class HostTraining:
    """Trains a plan, and reports to the node.

    Args:
        plan: what to train.
        name: of the model, below the folder of saved models.
        preview_every: steps between previews; 0 makes none.
        reporter: shows the reports.

    Raises:
        UserError: the name is not valid.
    """

    def __init__(self, plan: Plan, name: str, preview_every: int, reporter: Reporter):
        self._plan, self._preview_every, self._reporter = plan, preview_every, reporter
        self._device = comfy.model_management.get_torch_device()
        self.name = _name_of_run(plan, name)
        self.folder = saved_models() / self.name
        self.report: Report = reporter.report
        self._clock = Clock()
        self._copying: Copying | None = None
        self._gauge: CopyGauge | None = None
        self._retries = 0

    def train(self) -> list[float]:
        """Train to the end, and return the loss of each step.

        Raises:
            InterruptProcessingException: the user pressed Cancel; the state is saved.
            UserError: there is not enough memory, or the training diverged; the last state is kept.
        """
        try:
            return self._train()
        except Exception as error:
            if _is_out_of_memory(error):
                raise self._too_large() from error
            raise
        finally:
            comfy.model_management.soft_empty_cache()

    def _train(self) -> list[float]:
        run = self._begin()
        options, bar = run.options, comfy.utils.ProgressBar(run.options.steps)
        try:
            started = time.perf_counter()
            for _ in run.run():
                self._clock.per_step.append(time.perf_counter() - started)
                if self._preview_every and (
                    run.step % self._preview_every == 0 or run.step == options.steps
                ):
                    self._preview(run)
                bar.update_absolute(run.step, options.steps)
                self._note_retries(run)
                if self._reporter.is_due:
                    self._show(run)
                comfy.model_management.throw_exception_if_processing_interrupted()
                started = time.perf_counter()
        except comfy.model_management.InterruptProcessingException:
            run.save()
            self._finish(run, "stopped")
            raise
        self._finish(run, "finished")
        return run.progress.losses

    def _begin(self) -> TrainingRun:
        """Free the memory that the run needs, and start or continue it."""
        plan, options = self._plan, self._plan.options
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()
        run = plan.begin(self.folder, Processes(self._device))
        height, width = plan.pictures.size
        shape = (options.batch_size, plan.unet.in_channels, height, width)
        self.report.parameters, self.report.memory = training_size(plan.unet, shape, options)
        self.report.begin(self.name, run.step, options.steps)
        if run.step >= options.steps:
            self.report.notes.append(
                f"This run has already done {run.step:,} steps. Enter more steps to continue."
            )
        elif run.step:
            self.report.notes.append(f"Continuing after step {run.step:,}.")
        self._show(run)
        return run

    def _preview(self, run: TrainingRun) -> None:
        started = time.perf_counter()
        averaged, current = (
            draw(
                network,
                run.scheduler_config,
                run.pictures.size,
                range(PREVIEWS),
                precision=run.options.precision,
                check_cancelled=(comfy.model_management.throw_exception_if_processing_interrupted),
            )
            for network in (run.averaged, run.network)
        )
        if self._gauge is None:
            options = run.options
            self._gauge = CopyGauge(run.pictures, flip=options.flip, rotate=options.rotate)
        self._copying = self._gauge.measure(averaged)
        self.report.show_grid(
            run.step,
            _sheet(averaged),
            _sheet(current),
            _sheet(as_floats(self._copying.nearest)),
            self._copying,
        )
        self._clock.per_preview.append(time.perf_counter() - started)

    def _show(self, run: TrainingRun) -> None:
        step, steps, every = run.step, run.options.steps, self._preview_every
        previews = -(-steps // every) - step // every if every else 0
        left = self._clock.seconds_left(steps - step, previews, run.options.batch_size)
        self.report.update(run.progress, left, self._clock.per_step)
        self._reporter.send()

    def _note_retries(self, run: TrainingRun) -> None:
        for step in run.progress.retries[self._retries :]:
            self.report.notes.append(
                f"The loss jumped or became NaN at step {step:,}. The run went back to its last "
                "save and continues with half the learning rate."
            )
        self._retries = len(run.progress.retries)

    def _finish(self, run: TrainingRun, state: str) -> None:
        """Write the card and send the last report."""
        start = self._plan.start
        try:
            if run.step:
                write_card(run, self._copying, "" if start is None else start.name)
        except OSError as error:  # the model is saved already
            self.report.notes.append(f"The model card cannot be written: {error.strerror}.")
        self.report.state = state
        self._show(run)

    def _too_large(self) -> UserError:
        batch = self._plan.options.batch_size
        height, width = self._plan.pictures.size
        smaller = max(1, batch // 2)
        way_out = (
            f"Set batch_size to {smaller}"
            if batch > 1
            else "Choose a smaller network, or a smaller size"
        )
        return UserError(
            f"There is not enough memory on {self._device} to train with {batch} pictures of "
            f"{width} x {height} pixels at once. {way_out}. What was saved is kept in "
            f"{self.folder}."
        )


def _name_of_run(plan: Plan, wanted: str) -> str:
    """Return the name for a run with these settings: an existing run's, or the first free one."""
    root = saved_models()
    wanted = checked_name(root, wanted)
    taken = set(model_names())
    for number in count(1):
        name = wanted if number == 1 else f"{wanted}_{number:05}"
        folder = root / name
        if (folder / SETTINGS).exists():
            if not any(changed_settings(folder, plan.settings)):
                return name
        elif name not in taken and not folder.exists():
            return name
    raise AssertionError


def _sheet(images: Tensor) -> str:
    """Return images in -1..1 as one PNG, in a data URL."""
    sheet = make_sheet(latent_to_image(images), square_columns(len(images)))
    picture = Image.fromarray(to_bytes(sheet if sheet.shape[-1] > 1 else sheet[..., 0]))
    picture.thumbnail((_SHEET, _SHEET))
    png = files.BytesIO()
    picture.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _is_out_of_memory(error: Exception) -> bool:
    # A CPU's allocator raises a RuntimeError.
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
