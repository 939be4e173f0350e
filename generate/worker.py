"""One process, or one actor, that draws blocks and writes their pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..pictures.images import latent_to_image
from ..schedulers.errors import UserError
from ..training.precision import repeatable
from .drawing import DrawingModel
from .run_folder import RunFolder, encode
from .seeds import Block
from .settings import Settings

OTHER_KERNELS = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""The environment for computing as on a processor without AVX-512."""


@dataclass(frozen=True)
class Task:
    """What a worker needs to know before its first block.

    Attributes:
        model: the model's folder or file.
        settings: of the run.
        batch: seeds in a block.
        part: how many of them the network evaluates at once.
        folder: of the run.
        sha256: of the model's weights.
        record: the record of each picture, except its seed.
        kernels: the kind of the processor's kernels, so that all workers compute the same bits.
        threads: of each worker, on a CPU.
    """

    model: Path
    settings: Settings
    batch: int
    part: int
    folder: Path
    sha256: str | None
    record: Mapping[str, Any]
    kernels: str
    threads: int


@dataclass(frozen=True)
class Drawn:
    """The result of a block.

    Attributes:
        seeds: the seeds whose pictures are written.
        failed: what is wrong with the others.
        pngs: the pictures, if the worker cannot access the run's folder.
    """

    seeds: tuple[int, ...]
    failed: Mapping[int, str] = field(default_factory=dict)
    pngs: Mapping[int, bytes] = field(default_factory=dict)


class Worker:
    """Loads the model once, then draws one block after another.

    Args:
        task: the run.
        device: where the network is evaluated.
        writes: whether to write the pictures; otherwise they are returned.

    Raises:
        UserError: the model cannot be loaded or is not the run's, or this machine would compute
            other bits.
    """

    def __init__(self, task: Task, device: torch.device, *, writes: bool = True):
        torch.set_num_threads(task.threads)
        self._device = device
        found = kernels_of(device)
        if found != task.kernels:
            raise UserError(
                f"A worker computes with {found}, but this run with {task.kernels}, which rounds "
                "differently. Use machines of the same kind, or start a run with --kernels avx2."
            )
        self._task, self._folder = task, RunFolder(task.folder) if writes else None
        self._model = DrawingModel.read(task.model, task.settings, task.part, device)
        if self._model.sha256 != task.sha256:
            raise UserError(f"{task.model} is not the model of this run: its sha256 differs.")

    def __call__(self, block: Block) -> Drawn:
        """Draw a block, and write the pictures that are wanted.

        Raises:
            OSError: a picture cannot be written.
        """
        with repeatable(self._device):
            samples = self._model.draw(block.seeds)
        failed: dict[int, str] = {}
        pngs: dict[int, bytes] = {}
        for seed in block.wanted:
            sample = samples[seed - block.seeds.start]
            if not sample.isfinite().all():
                failed[seed] = "The images have NaN or infinite values."
                continue
            image = latent_to_image(sample[None])[0]
            pngs[seed] = encode(image, {"seed": seed, **self._task.record})
        if self._folder is None:
            return Drawn(tuple(pngs), failed, pngs)
        for seed, png in pngs.items():
            self._folder.put(seed, png)
        return Drawn(tuple(pngs), failed)


def kernels_of(device: torch.device) -> str:
    """Return what determines the last bits of a result, apart from torch's version."""
    if device.type == "cpu":
        return torch.backends.cpu.get_cpu_capability()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type
