"""Train a UNet2D to predict the noise in noised images (Ho et al. 2020, algorithm 1).

All random numbers of a step come from generators that are seeded with the run's seed, the step and
the part of its batch. So a continued run gives the same weights as one that was never stopped, and
several processes give the same weights as one.
"""

import copy
import logging
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checkpoints.saving import save_model
from ..schedulers.config import SchedulerConfig
from ..schedulers.errors import UserError
from ..schedulers.noise_schedule import NoiseSchedule
from ..unet.config import UNetConfig
from ..unet.unet2d import UNet2D
from .augmentation import augment
from .draws import generator, order, seeded_layers
from .network_in_training import NetworkInTraining
from .options import TrainingOptions
from .picture_set import PictureSet, as_floats
from .precision import average_into, computing_in, image_order, repeatable
from .processes import Processes
from .progress import Progress
from .state import begin, read_state, write_state

logger = logging.getLogger(__name__)

_RETRIES = 3


class TrainingRun:
    """One run, with its state and its model in ``folder``.

    Args:
        pictures: what to train on.
        folder: for the state and the model; a run in it is continued.
        unet: the network.
        scheduler: its noise schedule, and what the network predicts.
        options: how to train.
        weights: to start from, as in the network's ``state_dict``; None initialises new ones.
        start: identifies ``weights`` in the settings of the run: a name, a digest.
        processes: the device, and the rank among several processes.

    Raises:
        UserError: there are no pictures, they or the options do not fit the network, or ``folder``
            contains a run with other settings.
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        pictures: PictureSet,
        folder: Path,
        *,
        unet: UNetConfig,
        scheduler: SchedulerConfig,
        options: TrainingOptions,
        weights: dict[str, Tensor] | None = None,
        start: str = "",
        processes: Processes | None = None,
    ):
        _check(pictures, unet, scheduler, options)
        self.processes = processes or Processes(torch.device("cpu"))
        if options.micro_batches % self.processes.count:
            raise UserError(
                f"{options.micro_batches} parts of a batch cannot be divided among "
                f"{self.processes.count} processes. Choose a multiple of {self.processes.count}."
            )
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file. Choose a folder for the results.")
        self.pictures, self.folder, self.options = pictures, folder, options
        # Timesteps are found for particular weights, which will change.
        self.unet_config, self.scheduler_config = unet, replace(scheduler, optimised=())
        self._device = self.processes.device
        self._settings = run_settings(pictures, unet, scheduler, options, start)
        if self.processes.is_first:
            begin(folder, self._settings)
        self.processes.wait()

        # The networks: the one that trains, and its average.
        with torch.random.fork_rng(devices=[]):  # keeps the caller's random state
            torch.manual_seed(options.seed)  # for the layers' own initialisation
            network = UNet2D(unet)
            if weights is not None:
                network.load_state_dict({name: value.float() for name, value in weights.items()})
            # Copied first: otherwise the parts that training adds to the layers would use their
            # weights.
            self.averaged = copy.deepcopy(network).requires_grad_(False).eval().to(self._device)
            self.model = NetworkInTraining(network, options, self._device).to(self._device)
        self._order = image_order(network, options, self._device)
        if self._device.type != "cpu":
            self.averaged.to(memory_format=self._order)  # pyright: ignore[reportCallIssue]
            self.model.to(memory_format=self._order)  # pyright: ignore[reportCallIssue]
        self._spread = self.processes.spread(self.model)
        if options.compile:
            self._spread = torch.compile(self._spread)
        self._fused = self._device.type in ("cpu", "cuda", "xpu", "mps")
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=options.learning_rate, fused=self._fused
        )
        schedule = NoiseSchedule.from_config(scheduler)
        self._alphas_cumprod = schedule.alphas_cumprod.to(self._device)
        self.progress = Progress()
        self._load()

    @property
    def network(self) -> UNet2D:
        """The network with its current weights."""
        return self.model.unet

    @property
    def step(self) -> int:
        """How many steps the run has done."""
        return self.progress.step

    @property
    def saved_step(self) -> int:
        """The step of the state in ``folder``; 0 if there is none."""
        return self.progress.saved[-1] if self.progress.saved else 0

    def run(self, stop_after: int | None = None) -> Iterator[float]:
        """Train, yielding the loss of each step; stop early after a total of ``stop_after`` steps.

        The state is saved every ``save_every`` steps and at the end. If the loss becomes NaN or
        jumps, the run goes back to the last saved state with half the learning rate, three times at
        most.

        Raises:
            UserError: it diverged again after that. The last saved state is kept.
        """
        end = self.options.steps if stop_after is None else min(self.options.steps, stop_after)
        if self.step < end:
            self._note_pictures()
        if not self.progress.saved and self.step < end:
            self.save()  # so that the first steps can go back to it
        while self.step < end:
            started = time.perf_counter()
            step = self.step
            loss = self._train_step(step)
            if loss is None or self.progress.has_jumped:
                self._go_back(step + 1)
                continue
            self.progress.seconds += time.perf_counter() - started
            due = self.step - self.saved_step >= self.options.save_every
            if self.step == end or (due and not self.progress.is_suspicious):
                self.save()
            yield loss

    def save(self) -> None:
        """Save the state, and the model with its averaged weights."""
        if self.step in self.progress.saved:
            return
        self.progress.saved.append(self.step)
        if self.processes.is_first:
            if self.step:
                save_model(
                    self.folder,
                    self.averaged.state_dict(),
                    self.unet_config,
                    self.scheduler_config,
                )
            state = {
                **vars(self.progress),
                "model": self.model.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
            write_state(self.folder, state)
        self.processes.wait()

    def _load(self) -> None:
        state = read_state(self.folder, self._device)
        self.processes.wait()  # before one process writes the next
        if state is None:
            return
        self.model.load_state_dict(state.pop("model"))
        self.averaged.load_state_dict(state.pop("averaged"))
        self.optimizer.load_state_dict(state.pop("optimizer"))
        # AdamW's fused step reads all of a parameter's values in one memory order, but they keep
        # the order in which another version or another device saved them.
        for parameter, moments in self.optimizer.state.items():
            for name, value in moments.items():
                if value.shape == parameter.shape:
                    moments[name] = torch.empty_like(parameter).copy_(value)
        self.progress = Progress(**state)

    def _go_back(self, diverged: int) -> None:
        """Return to the last saved state with half the learning rate."""
        retries = self.progress.retries
        if len(retries) == _RETRIES:
            raise UserError(
                f"The training diverged at step {diverged}, for the {_RETRIES + 1}th time: its "
                f"loss jumped or became NaN. The model of step {self.saved_step} is kept in "
                f"{self.folder}. Start another run with a learning rate below "
                f"{self.options.learning_rate:g}, or with precision float32."
            )
        self._load()
        self._note_pictures()
        self.progress.retries = [*retries, diverged]
        logger.warning(
            "The loss jumped or became NaN at step %d. Continuing from step %d with half the "
            "learning rate (%g).",
            diverged,
            self.step,
            self._learning_rate(self.step),
        )
        self.progress.saved.pop()  # so that this is saved if the run is stopped now
        self.save()

    def _note_pictures(self) -> None:
        # Pictures that no step saw do not count.
        known = [entry for entry in self.progress.pictures if entry[0] < self.step]
        own = (len(self.pictures), self.pictures.sha256)
        if not known or known[-1][1:] != own:
            known.append((self.step, *own))
        self.progress.pictures = known

    def _learning_rate(self, step: int) -> float:
        return self.options.learning_rate_at(step) * 0.5 ** len(self.progress.retries)

    def _train_step(self, step: int) -> float | None:
        """Train for one step; return its loss, or None, with the weights unchanged, if not finite.

        A loss that is returned is recorded in ``progress``.
        """
        options, processes = self.options, self.processes
        self.model.train()
        own = range(processes.rank, options.micro_batches, processes.count)
        total = torch.zeros((), device=self._device)
        self.optimizer.zero_grad(set_to_none=True)
        for micro in own:
            with ExitStack() as stack:
                stack.enter_context(repeatable(self._device))
                if processes.count > 1 and micro != own[-1]:
                    stack.enter_context(self._spread.no_sync())  # pyright: ignore
                if options.dropout:
                    stack.enter_context(seeded_layers(options.seed, step, micro, self._device))
                loss = self._loss(step, micro)
                (loss / len(own)).backward()
            total += loss.detach()
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        mean = processes.mean(total) * (processes.count / options.micro_batches)
        loss, size = torch.stack((mean, norm.to(mean))).tolist()
        if not math.isfinite(loss) or not math.isfinite(size):
            return None

        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        excess = (norm / options.gradient_clip).clamp(min=1)
        if self._fused:  # divides while it reads them
            self.optimizer.grad_scale = excess  # pyright: ignore[reportAttributeAccessIssue]
        else:
            torch._foreach_div_(gradients, excess)  # pyright: ignore[reportPrivateImportUsage]
        self.optimizer.step()
        average_into(
            list(self.averaged.parameters()),
            list(self.network.parameters()),
            1 - (1 - 1 / (step + 1)) ** (options.average_gamma + 1),
        )
        self.progress.step = step + 1
        self.progress.losses.append(loss)
        return loss

    def _loss(self, step: int, micro: int) -> Tensor:
        """Return the mean loss of one part of a step's batch."""
        options, size = self.options, self.options.batch_size // self.options.micro_batches
        g = generator(f"{options.seed}/{step}/{micro}")

        # Data, and a timestep for each image: one from each of batch_size equal slices of 0 .. T-1,
        # which makes the loss less noisy than independent draws.
        x0, labels = self._batch(step, micro, g)
        slices = micro * size + torch.arange(size) + torch.rand(size, generator=g)
        T = len(self._alphas_cumprod)
        t = (slices / options.batch_size * T).long().clamp(max=T - 1).to(self._device)  # rounding

        # Noise it (eq. 4) and predict the noise (eq. 14), or the model's other target.
        drawn = generator(f"{options.seed}/{step}/{micro}/noise", self._device)
        eps = torch.randn(x0.shape, generator=drawn, device=self._device)
        a = self._alphas_cumprod[t][:, None, None, None]
        x_t = (a.sqrt() * x0 + (1 - a).sqrt() * eps).contiguous(memory_format=self._order)
        match self.scheduler_config.prediction_type:
            case "epsilon":
                target = eps
            case "sample":
                target = x0
            case "v_prediction":
                target = a.sqrt() * eps - (1 - a).sqrt() * x0
        with computing_in(options.precision, self._device):
            output = self._spread(x_t, t * self.scheduler_config.timestep_scale, labels)
        errors = F.mse_loss(output.float(), target, reduction="none")
        if options.min_snr is not None:
            errors = errors * self._weights(a)
        return errors.mean()

    def _weights(self, a: Tensor) -> Tensor:
        """Return min-SNR's weights of alphas_cumprod (Hang et al. 2023, section 3.4)."""
        snr = a / (1 - a)
        bounded = snr.clamp(max=self.options.min_snr)
        match self.scheduler_config.prediction_type:
            case "epsilon":
                return bounded / snr
            case "sample":
                return bounded
            case "v_prediction":
                return bounded / (snr + 1)

    def _batch(self, step: int, micro: int, g: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Return pictures in -1..1, each once per epoch, and how they were augmented."""
        options, n = self.options, len(self.pictures)
        size = options.batch_size // options.micro_batches
        first = step * options.batch_size + micro * size
        chosen = [int(order(options.seed, p // n, n)[p % n]) for p in range(first, first + size)]
        x0 = self.pictures.take(chosen, g)
        if options.flip:
            mirrored = torch.rand(size, generator=g) < 0.5
            x0 = torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)
        if options.rotate:
            turns = torch.randint(4, (size,), generator=g).tolist()
            x0 = torch.stack([torch.rot90(x, k, (-2, -1)) for x, k in zip(x0, turns, strict=True)])
        x0 = as_floats(x0.to(self._device))
        if not options.augment:
            return x0, None
        return augment(x0, options.augment, g)


def run_settings(
    pictures: PictureSet,
    unet: UNetConfig,
    scheduler: SchedulerConfig,
    options: TrainingOptions,
    start: str,
) -> dict[str, Any]:
    """Return the settings that must stay the same to continue a run; pictures may change."""
    return {
        "unet": unet.to_dict(),
        "scheduler": scheduler.to_dict(),
        "options": options.identity,
        "crop": pictures.crop,
        "size": list(pictures.size),
        "start": start,
    }


def _check(
    pictures: PictureSet, unet: UNetConfig, scheduler: SchedulerConfig, options: TrainingOptions
) -> None:
    if len(pictures) == 0:
        raise UserError("There are no pictures to train on.")
    if pictures.channels != unet.in_channels:
        raise UserError(
            f"The pictures have {pictures.channels} channels, but the network takes "
            f"{unet.in_channels}."
        )
    unet.check_size(*pictures.size)
    if options.rotate and pictures.size[0] != pictures.size[1]:
        height, width = pictures.size
        raise UserError(
            f"Pictures of {width} x {height} pixels cannot be turned by a quarter: they are not "
            "square. Turn rotate off, or choose a square size."
        )
    if unet.out_channels != unet.in_channels:
        raise UserError(
            "This model also predicts its variance, which this trainer cannot teach. Start from a "
            "model without a learned variance."
        )
    if unet.has_classes:
        raise UserError(
            "This model was trained with classes, which this trainer cannot teach. Start from a "
            "model without classes."
        )
    if scheduler.rescale_betas_zero_snr and scheduler.prediction_type == "epsilon":
        raise UserError(
            "This model predicts the noise, but its schedule ends with pure noise, where there "
            "is nothing to learn. Start from a model with another schedule."
        )
