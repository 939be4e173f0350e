"""Convert a workflow, as saved by the editor, to a prompt for the API."""

from typing import Any

from .client import Graph

# Values of the editor's own widget after a seed, which is not an input of the node.
_CONTROLS = {"fixed", "increment", "decrement", "randomize"}


def to_prompt(workflow: dict[str, Any], object_info: dict[str, Any]) -> Graph:
    """Convert a workflow, using the host's ``object_info``.

    Widget values are read by position, as in the editor; widgets that were added to a node after
    the workflow was saved are left out.
    """
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph: Graph = {}
    for node in workflow["nodes"]:
        if node["type"] in ("Note", "MarkdownNote"):
            continue
        info = object_info[node["type"]]
        order = [name for names in info["input_order"].values() for name in names]
        declared = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        linked = {
            slot["name"]: links[slot["link"]]
            for slot in node.get("inputs", [])
            if slot.get("link") is not None
        }
        values = list(node.get("widgets_values", []))
        inputs: dict[str, Any] = {}
        for name in order:
            if values and name in declared and _is_widget(declared[name]):
                inputs[name] = values.pop(0)
                if values and values[0] in _CONTROLS and _has_control(declared[name]):
                    values.pop(0)
            if name in linked:
                inputs[name] = linked[name]
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph


def _is_widget(declaration: list[Any]) -> bool:
    kind = declaration[0]
    return isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def _has_control(declaration: list[Any]) -> bool:
    return len(declaration) > 1 and bool(declaration[1].get("control_after_generate"))
