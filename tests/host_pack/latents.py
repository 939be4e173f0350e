"""Test nodes that bring tensors into the host and out of it, through files in its output folder."""

import json
from pathlib import Path

from comfy_api.latest import io


def folder() -> Path:
    import folder_paths

    return Path(folder_paths.get_output_directory()) / "tensors"


class TestLoadLatent(io.ComfyNode):
    """LATENT of ``<name>.npy``; mask from another file, batch_index as JSON; a key of its own."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestLoadLatent",
            category="test",
            inputs=[
                io.String.Input("name"),
                io.String.Input("mask", default=""),
                io.String.Input("batch_index", default=""),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, name: str, mask: str, batch_index: str) -> io.NodeOutput:
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


class TestSaveLatent(io.ComfyNode):
    """Writes a LATENT as ``<name>.npy`` and shows its keys."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestSaveLatent",
            category="test",
            is_output_node=True,
            inputs=[io.Latent.Input("samples"), io.String.Input("name")],
            outputs=[],
        )

    @classmethod
    def execute(cls, samples: dict[str, object], name: str) -> io.NodeOutput:
        import numpy as np

        folder().mkdir(exist_ok=True)
        np.save(folder() / f"{name}.npy", samples["samples"].cpu().numpy())  # type: ignore[attr-defined]
        return io.NodeOutput(ui={"text": sorted(samples)})


class TestSaveSigmas(io.ComfyNode):
    """Shows SIGMAS."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestSaveSigmas",
            category="test",
            is_output_node=True,
            inputs=[io.Sigmas.Input("sigmas")],
            outputs=[],
        )

    @classmethod
    def execute(cls, sigmas: object) -> io.NodeOutput:
        return io.NodeOutput(ui={"sigmas": sigmas.tolist()})  # type: ignore[attr-defined]
