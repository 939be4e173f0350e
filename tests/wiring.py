"""Graphs built node by node, and tensors that go into the host and come out of it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from devtools.client import Client, Graph, Run
from devtools.host import Host

Link = list[Any]


class Wires:
    """A graph that grows; each call adds a node and returns its first output."""

    def __init__(self) -> None:
        self.graph: Graph = {}

    def __call__(self, node: str, /, **inputs: Any) -> Link:
        key = str(len(self.graph) + 1)
        self.graph[key] = {"class_type": node, "inputs": inputs}
        return [key, 0]

    def model(self, name: str = "digits-16", **schedule: Any) -> Link:
        """Load a model of ours, with other scheduler options where some are given."""
        link = self("UnconditionalUNetLoader", model_name=name, dtype="auto")
        return self.scheduled(link, **schedule) if schedule else link

    def scheduled(self, link: Link, **options: Any) -> Link:
        """Add a Noise Schedule node that changes these options."""
        return self("UnconditionalNoiseSchedule", model=link, **{**UNCHANGED, **options})

    def timesteps(self, model: Link, steps: int = 10, **more: Any) -> Link:
        defaults = {"spacing": "model", "denoise": 1.0, "steps_offset": -1, "timesteps": ""}
        return self(
            "UnconditionalTimesteps", **{**defaults, "model": model, "steps": steps, **more}
        )

    def custom(self, model: Link, sampler: Link, sigmas: Link, latent: Link, seed: int) -> Link:
        """Sample with the host's SamplerCustomAdvanced."""
        nothing = self("TestNothing")
        return self(
            "SamplerCustomAdvanced",
            noise=self("UnconditionalNoise", seed=seed),
            guider=self("BasicGuider", model=model, conditioning=nothing),
            sampler=sampler,
            sigmas=sigmas,
            latent_image=latent,
        )


UNCHANGED = {
    "num_train_timesteps": -1,
    "beta_schedule": "model",
    "beta_start": -1,
    "beta_end": -1,
    "prediction_type": "model",
    "timestep_spacing": "model",
    "steps_offset": -1,
    "set_alpha_to_one": "model",
    "clip_sample": "model",
    "clip_sample_range": -1,
    "thresholding": "model",
    "rescale_betas_zero_snr": "model",
    "timestep_scale": -1,
}


class Bench:
    """Runs graphs in the host and hands tensors to and fro."""

    def __init__(self, host: Host, client: Client):
        self.host, self.client = host, client
        self.folder: Path = host.output / "tensors"
        self.folder.mkdir(exist_ok=True)
        self._count = 0

    def put(self, wires: Wires, samples: Tensor, **more: Any) -> Link:
        """Add a node that gives these samples as LATENT; a mask is a tensor, batch_index JSON."""
        if isinstance(more.get("mask"), Tensor):
            more["mask"] = self._save(more["mask"])
        defaults = {"mask": "", "batch_index": ""}
        return wires("TestLoadLatent", name=self._save(samples), **{**defaults, **more})

    def get(self, wires: Wires, *latents: Link) -> list[Tensor]:
        """Run a graph and return the samples of these LATENTs."""
        names = [self._name() for _ in latents]
        for name, latent in zip(names, latents, strict=True):
            wires("TestSaveLatent", samples=latent, name=name)
        self.run(wires)
        return [torch.from_numpy(np.load(self.folder / f"{name}.npy")) for name in names]

    def run(self, wires: Wires) -> Run:
        run = self.client.run(wires.graph)
        assert run.error is None, run.error
        return run

    def _save(self, tensor: Tensor) -> str:
        name = self._name()
        np.save(self.folder / f"{name}.npy", tensor.numpy())
        return name

    def _name(self) -> str:
        self._count += 1
        # The host caches by inputs: a name is never used twice for other content.
        return f"{np.random.default_rng().integers(2**62)}-{self._count}"
