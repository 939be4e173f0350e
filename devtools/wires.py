"""Build graphs node by node."""

from typing import Any

from .client import Graph
from .contract import defaults

Link = list[Any]
"""An output of a node, as in a graph's inputs: [key, slot]."""


class Wires:
    """A graph that is built step by step; each call adds a node and returns its first output.

    Required inputs of our nodes that are not given get their defaults.
    """

    def __init__(self, first: int = 1) -> None:
        self.graph: Graph = {}
        self._first = first

    def __call__(self, node: str, /, **inputs: Any) -> Link:
        key = str(self._first + len(self.graph))
        self.graph[key] = {"class_type": node, "inputs": {**defaults(node), **inputs}}
        return [key, 0]

    def model(self, name: str = "digits-16", **schedule: Any) -> Link:
        """Load a model of this pack, optionally with other scheduler options."""
        link = self("UnconditionalUNetLoader", model_name=name)
        return self.scheduled(link, **schedule) if schedule else link

    def scheduled(self, model: Link, **options: Any) -> Link:
        """Add a Noise Schedule node that changes these options."""
        return self("UnconditionalNoiseSchedule", model=model, **options)

    def timesteps(self, model: Link, steps: int = 10, **more: Any) -> Link:
        """Add a Timesteps node."""
        return self("UnconditionalTimesteps", model=model, steps=steps, **more)

    def custom(self, model: Link, sampler: Link, sigmas: Link, latent: Link, seed: int) -> Link:
        """Sample with ComfyUI's SamplerCustomAdvanced."""
        nothing = self("UnconditionalConditioning")
        return self(
            "SamplerCustomAdvanced",
            noise=self("UnconditionalNoise", seed=seed),
            guider=self("BasicGuider", model=model, conditioning=nothing),
            sampler=sampler,
            sigmas=sigmas,
            latent_image=latent,
        )
