"""Nodes that only the tests need, loaded by their ComfyUI alongside the pack."""

from comfy_api.latest import ComfyExtension, io

from . import changes, closed_forms, copies, latents, memory, models, patches, peers  # noqa: F401
from .node import NODES, node


@node(io.AnyType.Output(), inputs=(io.String.Input("text"),))
def anything(text: str) -> io.NodeOutput:
    """A text for an input of any kind."""

    return io.NodeOutput(text)


class TestExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> TestExtension:
    return TestExtension()
