"""Graphs built node by node, and tensors that go into the host and come out of it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import devtools.wires
from devtools.client import Client, Run
from devtools.host import Host
from devtools.wires import Link


class Wires(devtools.wires.Wires):
    """A graph that is built step by step, with the tests' nodes too."""

    def exact(self, model: Link) -> Link:
        """The MODEL with its network in float64: remaining differences do not come from the
        kernels' rounding."""
        return self("TestWrappedModel", model=model, kind="float64", name="")


class Bench:
    """Runs graphs in the host, and passes tensors into it and out of it."""

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

    def fails(self, wires: Wires, samples: Link | None, *words: str, node: str) -> Run:
        """Assert that a graph, or samples of it, end in an error with these words on this node."""
        if samples is not None:
            wires("TestSaveLatent", samples=samples, name="x")
        run = self.client.run(wires.graph)
        assert run.error
        assert run.error["node_id"] == node
        for text in words:
            assert text in run.error["exception_message"]
        return run

    def _save(self, tensor: Tensor) -> str:
        name = self._name()
        np.save(self.folder / f"{name}.npy", tensor.numpy())
        return name

    def _name(self) -> str:
        self._count += 1
        # The host caches by inputs: a name is never used twice for other content.
        return f"{np.random.default_rng().integers(2**62)}-{self._count}"
