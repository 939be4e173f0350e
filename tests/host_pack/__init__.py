"""Nodes that only the tests need, loaded by their ComfyUI beside the pack."""

from comfy_api.latest import ComfyExtension, io


class TestForeignModel(io.ComfyNode):
    """A MODEL of another kind: Stable Diffusion's, without weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestForeignModel",
            category="test",
            inputs=[],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        import comfy.model_base
        import comfy.model_management
        import comfy.model_patcher
        import comfy.supported_models
        import torch

        config = comfy.supported_models.SD15({"disable_unet_model_creation": True})
        model = comfy.model_base.BaseModel(config)
        model.diffusion_model = torch.nn.Identity()
        device = comfy.model_management.get_torch_device()
        return io.NodeOutput(comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu")))


class TestNothing(io.ComfyNode):
    """What the host's samplers ask for beside a MODEL: no conditioning, and 3 x 8 x 8 zeros."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestNothing",
            category="test",
            inputs=[],
            outputs=[io.Conditioning.Output(), io.Latent.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        import torch

        return io.NodeOutput([[torch.zeros(1, 1, 1), {}]], {"samples": torch.zeros(1, 3, 8, 8)})


class TestExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [TestForeignModel, TestNothing]


async def comfy_entrypoint() -> TestExtension:
    return TestExtension()
