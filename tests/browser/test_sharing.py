"""Graphs that come back: from our pictures, and from a saved workflow."""

from pathlib import Path
from typing import Any

import pytest
from templates import saved

from devtools.contract import NODES

from .editor import SETTINGS, Editor


def run_with(editor: Editor, format: str) -> Path:
    """Run the quick start with seed 11 in a file format and return its file."""
    workflow = saved("quick_start_pndm")
    editor.load(workflow)
    sampler, output = (
        editor.node(kind) for kind in ("UnconditionalPNDMSampler", "UnconditionalImageOutput")
    )
    for name, value in {"seed": 11, "steps": 7, "batch_size": 1}.items():
        editor.set_widget(sampler, name, value)
    editor.set_widget(output, "format", format)
    editor.set_widget(output, "filename_prefix", f"dropped_{format.replace(' ', '_')}")
    assert editor.run() == "success"
    (file,) = editor.host.output.glob(f"dropped_{format.replace(' ', '_')}*")
    return file


@pytest.mark.parametrize(("format", "kind"), [("png", "image/png"), ("webp", "image/webp")])
def test_a_picture_of_ours_dropped_onto_the_page_restores_its_graph(format, kind, editor):
    file = run_with(editor, format)
    before, links = editor.widgets(), len(editor.saved()["links"])
    editor.clear()
    editor.drop(file, kind)
    editor.page.wait_for_function("() => app.graph._nodes.length === 4")
    assert editor.widgets() == before
    assert len(editor.saved()["links"]) == links == 2
    editor.fit()
    editor.shot(f"dropped_{format}")


def test_a_saved_workflow_keeps_its_values_when_the_page_is_reloaded(editor):
    for name in NODES:
        editor.add(name)
    for node, widgets in editor.widgets().items():
        for name, value in widgets.items():
            if name in ("steps", "seed", "scale"):
                editor.set_widget(int(node), name, value + 3)
    before = editor.widgets()
    workflow = editor.saved()
    editor.open(SETTINGS)
    editor.clear()
    editor.load(workflow)
    assert editor.widgets() == before
    for node, again in zip(workflow["nodes"], editor.saved()["nodes"], strict=True):
        for name in ("type", "widgets_values"):
            assert (again.get(name) or []) == (node.get(name) or [])


def test_a_workflow_saves_no_values_but_those_of_our_inputs(editor):
    # They are read by position: the value of a widget that only the page has would shift the
    # others.
    info: dict[str, Any] = editor.page.evaluate(
        "() => fetch('/api/object_info').then((answer) => answer.json())"
    )
    for name in NODES:
        editor.add(name)
    for node in editor.saved()["nodes"]:
        declared = {**info[node["type"]]["input"].get("required", {})}
        declared |= info[node["type"]]["input"].get("optional", {})
        count = 0
        for kind, *options in declared.values():
            if isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"):
                count += 1
                count += bool(options and options[0].get("control_after_generate"))
        assert len(node.get("widgets_values") or []) == count, node["type"]
