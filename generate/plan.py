"""A run before it starts: checks everything, and prepares the task for the workers."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.reading import Checkpoint
from ..networks.batch_parts import fastest_part
from ..pictures.encoding import check_picture
from ..schedulers.errors import UserError
from ..schedulers.sampler import Sampler, ScheduleSampler
from .drawing import read_model
from .like import Like
from .run_folder import RunFolder
from .settings import Settings
from .worker import Task

# Pixels in a block, enough for the kernels but few enough that little is lost; and images.
_PIXELS_ON_CPU, _MOST_ON_CPU = 2**16, 64
_PIXELS, _MOST = 2**20, 256


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        task: for the workers.
        record: of ``run.json``.
        evaluations: of the network, for each image.
        size: (height, width).
        weight_bytes: of the network.
        activation_bytes: of a part's evaluation.
    """

    task: Task
    record: dict[str, Any]
    evaluations: int
    size: tuple[int, int]
    weight_bytes: int
    activation_bytes: int

    @classmethod
    def make(
        cls,
        model: Path,
        like: Like,
        folder: Path,
        *,
        device: str,
        kernels: str,
        batch: int | None = None,
        threads: int = 1,
    ) -> "Plan":
        """Read the model and check the settings with it.

        Args:
            model: a folder or a file.
            like: the settings, and the required model.
            folder: for the pictures.
            device: the kind of device of the workers.
            kernels: of the workers, as from ``kernels_of``.
            batch: seeds in a block; None: depends on the size of the images.
            threads: of each worker, on a CPU.

        Raises:
            ValueError: the run cannot be drawn; the message says why.
        """
        settings, checkpoint = like.settings, read_model(model, like.settings)
        config = checkpoint.config
        sampler = settings.make_sampler(checkpoint.read_process())
        like.check(checkpoint.sha256, sampler, model)
        sampler.begin(torch.zeros(1))  # logs remarks on its timesteps
        config.check_class_label(settings.class_label)
        if config.has_classes and settings.class_label is None:
            raise UserError("This model was trained with classes. Choose one with --class-label.")
        height, width = settings.size or config.size
        config.check_size(height, width)
        check_picture("png", height, width, config.in_channels, 1)

        batch = batch or _batch(device, height * width)
        network = checkpoint.network(config, device="meta")
        for_one = network.activation_bytes((1, config.in_channels, height, width), checkpoint.dtype)
        part = fastest_part(batch, for_one, torch.device(device))
        drawn = {"batch": batch, "part": part, "device": device, "kernels": kernels}
        if device == "cpu":
            drawn["threads"] = threads
        record = _record(checkpoint, sampler, settings, (height, width), model.name)
        task = Task(
            model=model.resolve(),
            settings=settings,
            batch=batch,
            part=part,
            folder=folder.resolve(),
            sha256=checkpoint.sha256,
            record=_of_picture(checkpoint, sampler, settings, model.name),
            kernels=kernels,
            threads=threads,
        )
        weights = sum(w.numel() * w.element_size() for w in checkpoint.weights.values())
        return cls(
            task,
            {**record, "drawn": drawn},
            sampler.evaluations,
            (height, width),
            weights,
            part * for_one,
        )

    @property
    def folder(self) -> RunFolder:
        """The folder of the pictures."""
        return RunFolder(self.task.folder)


def _record(
    checkpoint: Checkpoint,
    sampler: Sampler,
    settings: Settings,
    size: tuple[int, int],
    name: str,
) -> dict[str, Any]:
    """Return everything that determines the pictures, including settings from the model's files."""
    process = sampler.config if isinstance(sampler, ScheduleSampler) else checkpoint.read_process()
    return {
        "settings": {
            **sampler.settings,
            "timesteps": list(sampler.span.timesteps),
            "class_label": settings.class_label,
            "size": list(size),
            "dtype": settings.dtype,
        },
        "model": {"name": name, "sha256": checkpoint.sha256},
        "network": checkpoint.config.to_dict(),
        "scheduler": process.to_dict(),
        "versions": {"unconditional": _version(), "torch": torch.__version__},
    }


def _of_picture(
    checkpoint: Checkpoint, sampler: Sampler, settings: Settings, name: str
) -> dict[str, Any]:
    """Return the record stored in each picture, as the nodes store it."""
    chosen = {
        "spacing": settings.spacing,
        "class_label": settings.class_label,
        "size": settings.size and list(settings.size),
        "schedule": dict(settings.schedule) or None,
        "timesteps": list(sampler.span.timesteps) if settings.spacing == "optimised" else None,
    }
    return {
        **sampler.settings,
        "steps": len(sampler.span.timesteps),
        **{name: value for name, value in chosen.items() if value is not None},
        "evaluations": sampler.evaluations,
        "model": name,
        "sha256": checkpoint.sha256,
        "dtype": settings.dtype,
    }


def _batch(device: str, pixels: int) -> int:
    if device == "cpu":
        return max(1, min(_MOST_ON_CPU, _PIXELS_ON_CPU // pixels))
    return max(1, min(_MOST, _PIXELS // pixels))


def _version() -> str:
    try:
        return version("unconditional-diffusion")
    except PackageNotFoundError:  # unpacked below custom_nodes
        return "unknown"
