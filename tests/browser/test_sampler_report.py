"""The report of a sampler in its node after a run."""

import re
from typing import Any

import pytest
from templates import saved

from .editor import SETTINGS, Editor

# Only the loader's report wraps its lines.
REPORT = ".unconditional-report:not(.unconditional-wraps)"


def quick_start(**values: Any) -> dict[str, Any]:
    """The template, with other values for the sampler's steps and batch size."""
    workflow = saved("quick_start_pndm")
    sampler = next(n for n in workflow["nodes"] if n["type"] == "UnconditionalPNDMSampler")
    sampler["widgets_values"][2] = values.get("steps", 10)
    sampler["widgets_values"][3] = values.get("batch_size", 1)
    return workflow


def report(editor: Editor) -> str:
    note = editor.page.locator(REPORT)
    note.wait_for()
    return note.inner_text()


def test_after_a_run_the_sampler_says_steps_evaluations_seconds_and_timesteps(editor):
    editor.load(quick_start(steps=10))
    assert editor.page.locator(REPORT).count() == 0
    assert editor.run() == "success"
    said = report(editor)
    assert "10 steps" in said
    assert "10 evaluations" in said
    assert re.search(r"\d s/image", said)
    assert "t = 999" in said
    editor.fit()
    editor.shot("sampler_report")


def test_the_report_follows_the_latest_run_and_is_within_its_node(editor):
    editor.load(quick_start(steps=10))
    editor.run()
    report(editor)
    editor.set_widget(editor.node("UnconditionalPNDMSampler"), "steps", 20)
    editor.run()
    editor.page.locator(REPORT, has_text="20 steps").wait_for()
    assert editor.page.locator(REPORT).count() == 1
    editor.settle()
    box = editor.page.locator(REPORT).bounding_box()
    area = editor.area(editor.node("UnconditionalPNDMSampler"))
    assert box
    assert area["x"] <= box["x"]
    assert area["y"] <= box["y"]
    assert box["x"] + box["width"] <= area["x"] + area["width"] + 1
    assert box["y"] + box["height"] <= area["y"] + area["height"] + 1


def test_a_removed_node_takes_its_report_with_it(editor):
    editor.load(quick_start())
    editor.run()
    report(editor)
    editor.page.evaluate(
        "(id) => app.graph.remove(app.graph.getNodeById(id))",
        editor.node("UnconditionalPNDMSampler"),
    )
    editor.page.locator(REPORT).wait_for(state="detached")


def test_the_report_is_not_saved_with_the_workflow(editor):
    workflow = quick_start()
    editor.load(workflow)
    before = editor.saved()
    editor.run()
    report(editor)
    for node, again in zip(before["nodes"], editor.saved()["nodes"], strict=True):
        assert again["widgets_values"] == node["widgets_values"]


def test_the_report_survives_undo_which_rebuilds_the_graph(editor):
    editor.load(quick_start())
    editor.run()
    said = report(editor)
    editor.page.evaluate(
        """async () => {
          const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker
          const node = app.graph._nodes[0]
          node.pos = [node.pos[0] + 50, node.pos[1]]
          tracker.checkState()
          window.seenByTests.before = node
          await tracker.undo()
        }"""
    )
    assert editor.page.evaluate("() => !app.graph._nodes.includes(seenByTests.before)")
    assert report(editor) == said


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_the_report_is_readable_in_each_theme(palette, editor):
    editor.ensure({**SETTINGS, "Comfy.ColorPalette": palette})
    editor.clear()
    editor.load(quick_start())
    editor.run()
    report(editor)
    editor.fit()
    box = editor.page.locator(REPORT).bounding_box()
    assert box
    pixels = editor.shot(f"sampler_report_{palette}", box).astype(float).mean(axis=2)
    assert pixels.max() - pixels.min() > 100


def test_the_report_is_chinese_in_a_chinese_editor(chinese):
    chinese.load(quick_start())
    chinese.run()
    assert re.search("[\u4e00-\u9fff]", report(chinese))
    chinese.fit()
    chinese.shot("sampler_report_zh")
