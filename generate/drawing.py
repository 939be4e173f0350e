"""A model on one device, which draws blocks of seeds."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.files import find_files
from ..checkpoints.reading import Checkpoint, read_checkpoint
from ..networks.placement import place_weights
from ..schedulers.consistency_model import ConsistencyConfig
from ..schedulers.prediction import clip_x0
from ..schedulers.process import Process
from ..schedulers.randomness import SeededNoise
from ..schedulers.sampler import Evaluation, Sampler, ScheduleSampler, drain
from .settings import Settings


@dataclass(frozen=True)
class DrawingModel:
    """A network and everything it needs to draw: equal ones draw equal images.

    Attributes:
        network: on its device, in its precision.
        sampler: made from the settings.
        process: of the model.
        shape: (C, H, W) of one image.
        part: how many images the network evaluates at once.
        class_label: for a model with classes.
        sha256: of its weights.
    """

    network: Any
    sampler: Sampler
    process: Process
    shape: tuple[int, int, int]
    part: int
    class_label: int | None
    sha256: str | None

    @classmethod
    def read(
        cls, path: Path, settings: Settings, part: int, device: torch.device
    ) -> "DrawingModel":
        """Read a model and move it to a device.

        Raises:
            ValueError: it cannot be read, or the settings do not fit it; the message says why.
        """
        checkpoint = read_model(path, settings)
        process, config = checkpoint.read_process(), checkpoint.config
        network = checkpoint.build(checkpoint.network).to(device)
        return cls(
            place_weights(network, device),
            settings.make_sampler(process),
            process,
            (config.in_channels, *(settings.size or config.size)),
            part,
            settings.class_label,
            checkpoint.sha256,
        )

    @torch.inference_mode()
    def draw(self, seeds: Sequence[int]) -> Tensor:
        """Return an image for each seed, not clamped, float32 on the CPU, shape (B, C, H, W)."""
        device = next(self.network.parameters()).device
        noise = SeededNoise(seeds, self.shape)
        network = _Network(self)
        first = self.sampler.begin(noise().to(device))
        return drain(self.sampler.sample(network, first, noise), network.remember).float().cpu()

    @torch.inference_mode()
    def seconds_per_evaluation(self, batch: int) -> float:
        """Return the time of an evaluation for each image of a batch: the best of three."""
        noise = SeededNoise(range(batch), self.shape)()
        x = self.sampler.begin(noise.to(next(self.network.parameters()).device))
        network, t = _Network(self), self.sampler.span.timesteps[0]
        seconds = []
        for _ in range(4):  # the first prepares the filters
            started = time.perf_counter()
            network(x, t).cpu()
            seconds.append(time.perf_counter() - started)
        return min(seconds[1:]) / batch


class _Network:
    """The network as a sampler calls it, for one block."""

    def __init__(self, owner: DrawingModel):
        self._owner, config = owner, owner.network.config
        self._self_conditioned = config.is_self_conditioned
        self._inputs = {} if owner.class_label is None else {"class_labels": owner.class_label}
        self._last_x0: Tensor | None = None

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        owner, process = self._owner, self._owner.process
        time = owner.sampler.network_time(t)
        if not isinstance(process, ConsistencyConfig):
            assert isinstance(owner.sampler, ScheduleSampler)
            return self._predict(x_t, time * owner.sampler.config.timestep_scale)
        sigma = owner.sampler.level(t)[1].to(x_t)
        output = self._predict(process.network_input(x_t, sigma), time)
        return process.denoised(output, x_t, sigma)

    def _predict(self, x: Tensor, time: float) -> Tensor:
        network, part = self._owner.network, self._owner.part
        lasts = [None] * -(-len(x) // part)
        if self._self_conditioned and self._last_x0 is not None:
            lasts = list(self._last_x0.split(part))
        outputs = []
        for own, last in zip(x.to(network.dtype).split(part), lasts, strict=True):
            inputs = self._inputs if last is None else {**self._inputs, "last_x0": last.to(own)}
            outputs.append(network(own, time, **inputs))
        return torch.cat(outputs).to(x.dtype)

    def remember(self, evaluation: Evaluation) -> None:
        """Keep a predicted image for a self-conditioned network, which was trained with it."""
        if self._self_conditioned and isinstance(self._owner.sampler, ScheduleSampler):
            self._last_x0 = clip_x0(evaluation.x0, self._owner.sampler.config)


def read_model(path: Path, settings: Settings) -> Checkpoint:
    """Read a model in the precision of the settings.

    Raises:
        ValueError: it cannot be loaded; the message says why.
    """
    return read_checkpoint(find_files(path), getattr(torch, settings.dtype))
