"""Test nodes that show what the host does with a MODEL's memory."""

import sys
from typing import Any

from comfy_api.latest import io

from .node import node


@node(inputs=(io.Model.Input("model"),), is_output_node=True)
def low_vram(model: Any) -> io.NodeOutput:
    """Shows how far an evaluation with all weights offloaded is from one with all loaded.

    In between, a patch acts on a group norm, for small and for large images.
    """
    import comfy.model_management
    import torch

    cpu = torch.device("cpu")
    images = torch.randn(2, 1, 16, 16), torch.randn(1, 1, 256, 256)
    comfy.model_management.unload_all_models()
    key = "diffusion_model.conv_norm_out.weight"
    patch = {key: ("diff", (torch.linspace(0, 2, 32),))}
    outputs = []
    for load, patches in (
        ({"full_load": True}, {}),
        ({"full_load": True}, patch),
        ({"lowvram_model_memory": 1}, patch),
    ):
        patcher = model.clone()
        patcher.add_patches(patches, 1.0)
        patcher.load(cpu, **load)
        outputs.append([patcher.model.apply_model(x, torch.full((len(x),), 1.5)) for x in images])
        offloaded = patcher.model.model_lowvram
        patcher.detach()
    plain, loaded, lacking = outputs

    def between(some: Any, others: Any) -> list[float]:
        return [(a - b).abs().max().item() for a, b in zip(some, others, strict=True)]

    return io.NodeOutput(
        ui={
            "difference": between(loaded, lacking),
            "patched": between(plain, loaded),
            "offloaded": [offloaded],
        }
    )


@node(inputs=(io.Model.Input("model"), io.Latent.Input("latent")), is_output_node=True)
def memory(model: Any, latent: Any) -> io.NodeOutput:
    """Shows the host's estimate of the memory that sampling (B, C, H, W) needs.

    ``copies`` is the part of it for copies of weights, of which earlier runs may have made some.
    """
    from comfy.patcher_extension import WrapperExecutor, WrappersMP

    def estimate(model: Any, shape: list[int]) -> float:
        return model.model.memory_required(shape)

    inner = model.model
    copies = sys.modules[type(inner).__module__].bytes_to_make(inner.network)
    wrappers = model.get_all_wrappers(WrappersMP.PREPARE_SAMPLING)
    executor = WrapperExecutor.new_executor(estimate, wrappers)
    shape = list(latent["samples"].shape)
    return io.NodeOutput(ui={"bytes": [executor.execute(model, shape)], "copies": [copies]})
