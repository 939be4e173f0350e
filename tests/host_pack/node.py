"""Nodes written as functions: `changed_file` becomes TestChangedFile."""

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

NODES: list[type[io.ComfyNode]] = []
"""Those of all files that were imported."""


def node(
    *outputs: Any, inputs: tuple[Any, ...] = (), is_output_node: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that makes a node which runs the function on its inputs."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = "Test" + function.__name__.title().replace("_", "")

        def define_schema(cls: type) -> io.Schema:
            return io.Schema(
                node_id=name,
                category="test",
                inputs=list(inputs),
                outputs=list(outputs),
                is_output_node=is_output_node,
            )

        def execute(cls: type, **values: Any) -> io.NodeOutput:
            return function(**values)

        methods = {"define_schema": classmethod(define_schema), "execute": classmethod(execute)}
        NODES.append(type(name, (io.ComfyNode,), methods))
        return function

    return register
