"""Train a UNet2D to predict the noise in noised images (Ho et al. 2020, algorithm 1).

A run is resumable and repeatable: all random numbers of step i come from a generator that is seeded
with the run's seed and i, so a resumed run gives the same weights as an uninterrupted one.
"""

import hashlib
import json
import logging
import math
import os
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checkpoints.new_files import unfinished
from ..schedulers.config import SchedulerConfig
from ..schedulers.noise_schedule import NoiseSchedule
from ..schedulers.randomness import SEEDS
from ..unet.config import UNetConfig
from ..unet.unet2d import UNet2D

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. ``learning_rate`` warms up over ``warmup_steps``, then decays as a cosine to 0.

    Raises:
        ValueError: a number is out of its range.
    """

    steps: int = 12_000
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    gradient_clip: float = 1.0
    ema_max_decay: float = 0.999
    flip: bool = False
    """Mirror half of the pictures, at random."""
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "save_every"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"The option {name} must be at least 1, not {value}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"The learning rate must be above 0, not {self.learning_rate:g}.")
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"The seed must be from 0 to {SEEDS - 1}, not {self.seed}.")


class TrainingRun:
    """One run, with its state in ``folder/training.pt``.

    Args:
        images: shape (n, C, H, W), uint8 in 0..255 or float32 in -1..1.
        folder: for the state and, at the end, the model; an existing state is resumed.

    Raises:
        ValueError: there are no images, they do not fit the network, dropout is not 0 (which could
            not be repeated), or ``folder`` contains a run with other settings or pictures.
    """

    def __init__(
        self,
        images: Tensor,
        folder: Path,
        *,
        unet: UNetConfig,
        scheduler: SchedulerConfig,
        options: TrainingOptions,
    ):
        if len(images) == 0:
            raise ValueError("There are no pictures to train on.")
        if images.shape[1] != unet.in_channels:
            raise ValueError(
                f"The pictures have {images.shape[1]} channels, but the network takes "
                f"{unet.in_channels}."
            )
        unet.check_size(*images.shape[-2:])
        if unet.dropout:
            raise ValueError("The network's dropout must be 0: a resumed run cannot repeat it.")
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file. Choose a folder for the results.")
        self.images, self.folder, self.options = images, folder, options
        self.unet_config, self.scheduler_config = unet, scheduler
        self.step = 0
        self.saved_step = 0
        """The step of the state saved in ``folder``; 0 if there is none."""

        with torch.random.fork_rng(devices=[]):  # keeps the caller's random state
            torch.manual_seed(options.seed)  # for the layers' own initialisation
            self.model = UNet2D(unet)
        self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.ema = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=options.learning_rate)
        self.alphas_cumprod = NoiseSchedule.from_config(scheduler).alphas_cumprod
        self._resume()

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed. ``save_every`` may change."""
        settings = {
            "unet": self.unet_config.to_dict(),
            "scheduler": self.scheduler_config.to_dict(),
            "options": asdict(self.options) | {"save_every": None},
            "pictures": list(self.images.shape),
        }
        return json.loads(json.dumps(settings))

    def run(self, stop_after: int | None = None) -> Iterator[float]:
        """Train, yielding the loss of each step; stop early after a total of ``stop_after`` steps.

        The state is saved every ``save_every`` steps and at the end.

        Raises:
            ValueError: the loss is NaN or infinite; what was saved before is kept.
        """
        end = self.options.steps if stop_after is None else min(self.options.steps, stop_after)
        self.model.train()
        while self.step < end:
            loss = self._train_step(self.step)
            if not math.isfinite(loss):
                raise ValueError(
                    f"The training diverged: the loss of step {self.step + 1} is {loss}. Start "
                    "again in another folder, with a lower learning rate than "
                    f"{self.options.learning_rate:g}."
                )
            self.step += 1
            if self.step % self.options.save_every == 0 or self.step == end:
                self._save_state()
            yield loss

    def _train_step(self, step: int) -> float:
        options = self.options
        g = torch.Generator().manual_seed(random.Random(f"{options.seed}/{step}").getrandbits(32))

        # Data, and a timestep for each image: one from each of batch_size equal slices of 0 .. T-1,
        # which makes the loss less noisy than independent draws.
        x0 = self._batch(step, g)
        slices = torch.arange(len(x0)) + torch.rand(len(x0), generator=g)
        t = (slices / len(x0) * len(self.alphas_cumprod)).long()

        # Noise it (eq. 4) and predict the noise (eq. 14).
        eps = torch.randn(x0.shape, generator=g)
        a = self.alphas_cumprod[t][:, None, None, None]
        x_t = (a.sqrt() * x0 + (1 - a).sqrt() * eps).contiguous(memory_format=torch.channels_last)
        loss = F.mse_loss(self.model(x_t, t), eps)

        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), options.gradient_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * self._rate(step)
        self.optimizer.step()

        decay = min(options.ema_max_decay, (1 + step) / (10 + step))
        for name, value in self.model.state_dict().items():
            self.ema[name].lerp_(value, 1 - decay)
        return loss.item()

    def _batch(self, step: int, g: torch.Generator) -> Tensor:
        """Return the step's images, float32 in -1..1: each once per epoch, in a new order."""
        n, size = len(self.images), self.options.batch_size
        positions = range(step * size, (step + 1) * size)
        chosen = [int(_order(self.options.seed, p // n, n)[p % n]) for p in positions]
        x0 = self.images[chosen]
        if x0.dtype == torch.uint8:
            x0 = x0.float() / 127.5 - 1
        if self.options.flip:
            mirrored = torch.rand(size, generator=g) < 0.5
            x0 = torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)
        return x0

    def _rate(self, step: int) -> float:
        warmup, steps = self.options.warmup_steps, self.options.steps
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

    def _save_state(self) -> None:
        state = {
            "settings": self.settings,
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "pictures_sha256": self._pictures_sha256,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / "training.pt"
        with unfinished(target) as new:
            torch.save(state, new)
            os.replace(new, target)
        self.saved_step = self.step

    @cached_property
    def _pictures_sha256(self) -> str:
        # A view of the data: bytes would be a second copy of all pictures.
        return hashlib.sha256(self.images.contiguous().reshape(-1).numpy().data).hexdigest()

    def _resume(self) -> None:
        path = self.folder / "training.pt"
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True)
            saved, sha256 = state["settings"], state.get("pictures_sha256")
        except Exception as error:  # torch raises many types on a damaged archive
            raise ValueError(
                f"{path} is not a training state, or is damaged ({type(error).__name__}). Use "
                "another folder, or delete that file to start again."
            ) from error
        changes = list(_changes(saved, self.settings))
        # The first states did not record the pictures that they were trained on.
        if sha256 not in (None, self._pictures_sha256):
            changes.append("the pictures are not the same")
        if changes:
            raise ValueError(
                f"{path} belongs to another run: {'; '.join(changes)}. To continue it, use its "
                "settings and pictures. Otherwise use another folder, or delete that file to start "
                "again."
            )
        self.step = self.saved_step = state["step"]
        self.model.load_state_dict(state["model"])
        self.ema = state["ema"]
        self.optimizer.load_state_dict(state["optimizer"])
        logger.info("Continuing after step %d of %s", self.step, path)


def _changes(saved: dict[str, Any], own: dict[str, Any]) -> Iterator[str]:
    """Yield a description of each setting that differs."""
    for name in sorted(saved.keys() | own.keys()):
        before, now = saved.get(name), own.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _changes(before, now)
        elif before != now:
            yield f"{name} was {before} and is now {now}"


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, n: int) -> Tensor:
    g = torch.Generator().manual_seed(random.Random(f"{seed}/epoch {epoch}").getrandbits(32))
    return torch.randperm(n, generator=g)
