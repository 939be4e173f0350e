"""Workers as actors of Ray, on this machine or on a cluster (the extra ``cluster``)."""

import itertools
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from ..checkpoints.files import find_files
from .pool import Report
from .processes import describe
from .run_folder import RunFolder
from .seeds import Block
from .worker import OTHER_KERNELS, Drawn, Task, Worker, kernels_of


def connect(address: str | None, device: str, *, avx2: bool) -> str:
    """Connect to a cluster, or start Ray here; return the kernels of a worker there.

    Args:
        address: of a cluster; None starts Ray here.
        device: "cpu" or "cuda".
        avx2: whether to compute as on a processor without AVX-512.
    """
    ray.init(
        address=address,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": OTHER_KERNELS} if avx2 else {},
    )
    needs: dict[str, Any] = {"num_gpus": 1} if device == "cuda" else {}
    probe = ray.remote(_kernels).options(**needs)
    return ray.get(probe.remote(device))


def _kernels(device: str) -> str:
    return kernels_of(torch.device(device))


class RayActors:
    """Actors with one GPU, or as many processor cores as the run has threads.

    If an actor cannot access the model's path, it gets the files through Ray's object store. If it
    cannot access the run's folder, it returns the pictures, which are then written here.

    Args:
        task: what to draw.
        count: the number of actors; None: as many as the cluster has room for.
        device: "cpu" or "cuda".
    """

    def __init__(self, task: Task, count: int | None, device: str):
        self._task, self._device, self._folder = task, device, RunFolder(task.folder)
        # An actor on another machine sees this file only if it shares the folder.
        with tempfile.NamedTemporaryFile(
            dir=task.folder, prefix=".", suffix=".unfinished", delete=False
        ) as mark:
            self._mark = Path(mark.name)
        self._files = ray.put(model_contents(task.model))
        on_gpu = device == "cuda"
        self._needs: dict[str, Any] = {"num_gpus": 1} if on_gpu else {"num_cpus": task.threads}
        room = ray.cluster_resources().get("GPU" if on_gpu else "CPU", 0)
        self._numbers = itertools.count()
        self._actors: dict[int, Any] = {}
        self._waiting: dict[Any, int] = {}
        for _ in range(count or max(1, int(room // next(iter(self._needs.values()))))):
            self._start()

    def _start(self) -> None:
        # Each block goes to another actor if this one dies, so Ray need not retry.
        kind = ray.remote(max_restarts=0, **self._needs)(Actor)
        worker = next(self._numbers)
        actor: Any = kind.remote(self._task, self._device, self._files, self._mark)
        self._actors[worker] = actor
        self._waiting[actor.ready.remote()] = worker

    def give(self, worker: int, block: Block) -> None:
        self._waiting[self._actors[worker].draw.remote(block)] = worker

    def reports(self) -> Sequence[Report]:
        done, _ = ray.wait(list(self._waiting), num_returns=1)
        return [self._receive(self._waiting.pop(result), result) for result in done]

    def _receive(self, worker: int, result: Any) -> Report:
        try:
            drawn: Drawn | None = ray.get(result)
        except RayError as error:
            cause = getattr(error, "cause", None)
            ray.kill(self._actors.pop(worker))
            stops = isinstance(cause, ValueError | OSError)
            if not stops:
                self._start()
            text = "An actor was lost." if cause is None else describe(cause)
            return Report(worker, error=text, stops=stops)
        if drawn is None:
            return Report(worker)
        for seed, png in drawn.pngs.items():
            self._folder.put(seed, png)
        return Report(worker, replace(drawn, pngs={}))

    def close(self) -> None:
        self._mark.unlink(missing_ok=True)
        ray.shutdown()


class Actor:
    """A worker on any machine; see ``RayActors``."""

    def __init__(self, task: Task, device: str, files: dict[str, bytes], mark: Path):
        if not task.model.exists():
            task = replace(task, model=_unpack(files, task.model.name))
        self._worker = Worker(task, torch.device(device), writes=mark.exists())

    def ready(self) -> None:
        """Return once the model is loaded."""

    def draw(self, block: Block) -> Drawn:
        return self._worker(block)


def model_contents(model: Path) -> dict[str, bytes]:
    """Return the files of a model, by their paths below the folder that the model is in."""
    files = find_files(model)
    paths = [files.config, files.weights, *files.shards, files.scheduler_config]
    paths += [files.model_index, files.optimised_timesteps]
    return {
        os.path.relpath(path, model.parent): path.read_bytes() for path in paths if path is not None
    }


def _unpack(files: dict[str, bytes], name: str) -> Path:
    # A model may be the network's folder alone, with the scheduler next to it.
    home = Path(tempfile.mkdtemp(prefix="unconditional-")) / "models"
    for part, content in files.items():
        path = Path(os.path.normpath(home / part))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return home / name
