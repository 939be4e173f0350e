"""Test nodes that show what the host does with a MODEL's memory."""

from typing import Any

from comfy_api.latest import io

from .node import node


@node(inputs=(io.Model.Input("model"),), is_output_node=True)
def low_vram(model: Any) -> io.NodeOutput:
    """Shows how far an evaluation with all weights offloaded is from one with all loaded."""
    import comfy.model_management
    import torch

    cpu = torch.device("cpu")
    x, sigma = torch.randn(2, 1, 16, 16), torch.full((2,), 1.5)
    comfy.model_management.unload_all_models()
    outputs = []
    for load in ({"full_load": True}, {"lowvram_model_memory": 1}):
        patcher = model.clone()
        patcher.load(cpu, **load)
        outputs.append(patcher.model.apply_model(x, sigma))
        offloaded = patcher.model.model_lowvram
        patcher.detach()
    difference = (outputs[0] - outputs[1]).abs().max().item()
    return io.NodeOutput(ui={"difference": [difference], "offloaded": [offloaded]})


@node(inputs=(io.Model.Input("model"), io.Latent.Input("latent")), is_output_node=True)
def memory(model: Any, latent: Any) -> io.NodeOutput:
    """Shows the host's estimate of the memory that sampling (B, C, H, W) needs."""
    from comfy.patcher_extension import WrapperExecutor, WrappersMP

    def estimate(model: Any, shape: list[int]) -> float:
        return model.model.memory_required(shape)

    wrappers = model.get_all_wrappers(WrappersMP.PREPARE_SAMPLING)
    executor = WrapperExecutor.new_executor(estimate, wrappers)
    return io.NodeOutput(ui={"bytes": [executor.execute(model, list(latent["samples"].shape))]})
