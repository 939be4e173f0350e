"""Test nodes that show what the host does with a MODEL's memory."""

from typing import Any

from comfy_api.latest import io


class TestLowVram(io.ComfyNode):
    """Shows how far an evaluation with all weights offloaded is from one with all loaded."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestLowVram",
            category="test",
            is_output_node=True,
            inputs=[io.Model.Input("model")],
            outputs=[],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
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


class TestMemory(io.ComfyNode):
    """Shows the host's estimate of the memory that sampling (B, C, H, W) needs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestMemory",
            category="test",
            is_output_node=True,
            inputs=[io.Model.Input("model"), io.Latent.Input("latent")],
            outputs=[],
        )

    @classmethod
    def execute(cls, model: Any, latent: Any) -> io.NodeOutput:
        shape = list(latent["samples"].shape)
        return io.NodeOutput(ui={"bytes": [model.model.memory_required(shape)]})
