"""Nodes that only the tests need, loaded by their ComfyUI beside the pack."""

from comfy_api.latest import ComfyExtension, io

from .changes import TestChangedFile, TestName
from .copies import TestCopiedModel, TestDynamicModel, TestWithoutFloat64
from .latents import TestLoadLatent, TestSaveLatent, TestSaveSigmas
from .memory import TestLowVram, TestMemory
from .models import TestConditioning, TestControl, TestForeignModel, TestTinyModel
from .patches import TestPatchedModel, TestWrappedModel
from .peers import TestDiffusersSampler


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


class TestAnything(io.ComfyNode):
    """A text for an input of any kind."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TestAnything",
            category="test",
            inputs=[io.String.Input("text")],
            outputs=[io.AnyType.Output()],
        )

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        return io.NodeOutput(text)


class TestExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            TestAnything,
            TestChangedFile,
            TestConditioning,
            TestControl,
            TestCopiedModel,
            TestDiffusersSampler,
            TestDynamicModel,
            TestForeignModel,
            TestLoadLatent,
            TestLowVram,
            TestMemory,
            TestName,
            TestNothing,
            TestPatchedModel,
            TestSaveLatent,
            TestSaveSigmas,
            TestTinyModel,
            TestWithoutFloat64,
            TestWrappedModel,
        ]


async def comfy_entrypoint() -> TestExtension:
    return TestExtension()
