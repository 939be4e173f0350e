"""Test nodes that bring tensors into the host and out of it, through files in its output folder."""

import json
from pathlib import Path

from comfy_api.latest import io

from .node import node


def folder() -> Path:
    import folder_paths

    return Path(folder_paths.get_output_directory()) / "tensors"


@node(
    io.Latent.Output(),
    inputs=(
        io.String.Input("name"),
        io.String.Input("mask", default=""),
        io.String.Input("batch_index", default=""),
    ),
)
def load_latent(name: str, mask: str, batch_index: str) -> io.NodeOutput:
    """LATENT of ``<name>.npy``; mask from another file, batch_index as JSON; and an extra key."""
    import numpy as np
    import torch

    latent: dict[str, object] = {
        "samples": torch.from_numpy(np.load(folder() / f"{name}.npy")),
        "somebody_elses": 5,
    }
    if mask:
        latent["noise_mask"] = torch.from_numpy(np.load(folder() / f"{mask}.npy"))
    if batch_index:
        latent["batch_index"] = json.loads(batch_index)
    return io.NodeOutput(latent)


@node(inputs=(io.Latent.Input("samples"), io.String.Input("name")), is_output_node=True)
def save_latent(samples: dict[str, object], name: str) -> io.NodeOutput:
    """Writes a LATENT as ``<name>.npy`` and shows its keys."""
    import numpy as np

    folder().mkdir(exist_ok=True)
    np.save(folder() / f"{name}.npy", samples["samples"].cpu().numpy())  # type: ignore[attr-defined]
    return io.NodeOutput(ui={"text": sorted(samples)})


@node(inputs=(io.Sigmas.Input("sigmas"),), is_output_node=True)
def save_sigmas(sigmas: object) -> io.NodeOutput:
    """Shows SIGMAS."""

    return io.NodeOutput(ui={"sigmas": sigmas.tolist()})  # type: ignore[attr-defined]
