"""Build graphs node by node."""

from typing import Any

from .client import Graph

Link = list[Any]
"""An output of a node, as in a graph's inputs: [key, slot]."""


class Wires:
    """A graph that grows; each call adds a node and returns its first output."""

    def __init__(self) -> None:
        self.graph: Graph = {}

    def __call__(self, node: str, /, **inputs: Any) -> Link:
        key = str(len(self.graph) + 1)
        self.graph[key] = {"class_type": node, "inputs": inputs}
        return [key, 0]

    def model(self, name: str = "digits-16", **schedule: Any) -> Link:
        """Load a model of this pack, optionally with other scheduler options."""
        link = self("UnconditionalUNetLoader", model_name=name, dtype="auto")
        return self.scheduled(link, **schedule) if schedule else link

    def scheduled(self, model: Link, **options: Any) -> Link:
        """Add a Noise Schedule node that changes these options."""
        return self("UnconditionalNoiseSchedule", model=model, **{**UNCHANGED, **options})

    def timesteps(self, model: Link, steps: int = 10, **more: Any) -> Link:
        """Add a Timesteps node."""
        defaults = {"spacing": "model", "denoise": 1.0, "steps_offset": -1, "timesteps": ""}
        return self(
            "UnconditionalTimesteps", **{**defaults, "model": model, "steps": steps, **more}
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
"""The inputs of a Noise Schedule node that changes nothing."""
