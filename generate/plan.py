"""A run before it starts: everything is checked, and what each worker must know is put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..networks.batch_parts import fastest_part
from ..pictures.encoding import check_picture
from ..schedulers.errors import UserError
from ..schedulers.sampler import ScheduleSampler
from .drawing import read_model
from .run_folder import RunFolder
from .settings import Settings
from .worker import Task, kernels_of

# Pixels in a block: enough for the processor's kernels, few enough that little is lost with it.
_PIXELS = {"cpu": 2**16}
_PIXELS_ON_GPU, _MOST, _MOST_ON_GPU = 2**20, 64, 256


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        task: for the workers.
        record: of ``run.json``.
        evaluations: of the network, for each image.
        size: (height, width).
        weight_bytes: of the network.
        activation_bytes: of a block's evaluation.
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
        settings: Settings,
        folder: Path,
        *,
        device: torch.device,
        batch: int | None = None,
        threads: int = 1,
        avx2: bool = False,
        sha256: str | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> "Plan":
        """Read the model and check the settings with it.

        Args:
            model: a folder or a file.
            settings: of the run.
            folder: for the pictures.
            device: of the workers.
            batch: seeds in a block; None: by the size of the images.
            threads: of each worker, on a CPU.
            avx2: whether the workers compute as on a processor without AVX-512.
            sha256: what the model's must be; None: any.
            timesteps: what they must be; None: any.

        Raises:
            ValueError: the run cannot be drawn; the message says why.
        """
        checkpoint = read_model(model, settings)
        if sha256 is not None and checkpoint.sha256 != sha256:
            raise UserError(
                f"{model} is another model than that of the picture: the sha256 of its weights is "
                f"{checkpoint.sha256}, not {sha256}."
            )
        config, process = checkpoint.config, checkpoint.read_process()
        sampler = settings.make_sampler(process)
        if timesteps is not None and list(sampler.span.timesteps) != list(timesteps):
            raise UserError(
                "The picture's timesteps were found by Optimise Timesteps, and this model's file "
                "has others or none. Save the model with 'Save Unconditional UNet' and use that."
            )
        sampler.begin(torch.zeros(1))  # logs what it has to say of its timesteps
        config.check_class_label(settings.class_label)
        if config.has_classes and settings.class_label is None:
            raise UserError("This model was trained with classes. Choose one with --class-label.")
        height, width = settings.size or config.size
        config.check_size(height, width)
        check_picture("png", height, width, config.in_channels, 1)
        batch = batch or _batch(device, height * width)
        if batch < 1:
            raise UserError(f"The batch must have at least 1 image, not {batch}.")

        shape = (config.in_channels, height, width)
        network = checkpoint.network(config, device="meta")
        needed = network.activation_bytes((1, *shape), checkpoint.dtype)
        part = fastest_part(batch, needed, device)
        # The values that decide the pictures, also where the model's own files set them.
        drawing = sampler.config if isinstance(sampler, ScheduleSampler) else process
        kernels = "AVX2" if avx2 and device.type == "cpu" else kernels_of(device)
        record = {
            "settings": {
                **sampler.settings,
                "timesteps": list(sampler.span.timesteps),
                "class_label": settings.class_label,
                "size": [height, width],
                "dtype": settings.dtype,
            },
            "model": {"name": model.name, "sha256": checkpoint.sha256},
            "network": config.to_dict(),
            "scheduler": drawing.to_dict(),
            "drawn": {
                "batch": batch,
                "part": part,
                "device": device.type,
                "kernels": kernels,
                **({"threads": threads} if device.type == "cpu" else {}),
            },
            "versions": {"unconditional": _version(), "torch": torch.__version__},
        }
        of_picture = {
            **sampler.settings,
            "steps": len(sampler.span.timesteps),
            **({} if settings.spacing is None else {"spacing": settings.spacing}),
            **({} if settings.class_label is None else {"class_label": settings.class_label}),
            "evaluations": sampler.evaluations,
            "model": model.name,
            "sha256": checkpoint.sha256,
            "dtype": settings.dtype,
        }
        if settings.spacing == "optimised":
            of_picture["timesteps"] = list(sampler.span.timesteps)
        if settings.schedule:
            of_picture["schedule"] = dict(settings.schedule)
        task = Task(
            model.resolve(),
            settings,
            batch,
            part,
            folder.resolve(),
            checkpoint.sha256,
            of_picture,
            kernels,
            threads,
        )
        weights = sum(w.numel() * w.element_size() for w in checkpoint.weights.values())
        return cls(task, record, sampler.evaluations, (height, width), weights, part * needed)

    @property
    def folder(self) -> RunFolder:
        """Where the pictures are."""
        return RunFolder(self.task.folder)


def _batch(device: torch.device, pixels: int) -> int:
    if device.type == "cpu":
        return max(1, min(_MOST, _PIXELS["cpu"] // pixels))
    return max(1, min(_MOST_ON_GPU, _PIXELS_ON_GPU // pixels))


def _version() -> str:
    try:
        return version("unconditional-diffusion")
    except PackageNotFoundError:  # unpacked below custom_nodes
        return "unknown"
