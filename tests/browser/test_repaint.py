"""The report of RePaint Sampler before a run: its evaluations, as the sampler counts them."""

import pytest
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.repaint import PRESETS, RePaint
from comfyui_unconditional.schedulers.span import Stretch

NODE, NOTE = "UnconditionalRePaintSampler", ".unconditional-report"
INPUTS = ("steps", "jump_length", "resamplings")


def expected(steps: int, length: int, resamplings: int) -> str:
    how = {"jump_length": length, "resamplings": resamplings}
    sampler = RePaint.over(SchedulerConfig(), Stretch(steps), **how)
    return f"{sampler.evaluations:,} evaluation"


def test_a_preset_sets_its_inputs_and_the_node_shows_the_evaluations(editor):
    node = editor.add(NODE)
    for name in [*PRESETS, "draft"]:
        editor.set_widget(node, "preset", name)
        editor.page.locator(NOTE, has_text=expected(*PRESETS[name])).wait_for()
        widgets = editor.widgets()[str(node)]
        assert tuple(widgets[name] for name in INPUTS) == PRESETS[name]
        editor.fit()
        editor.shot(f"repaint_{name}")


@pytest.mark.parametrize("values", [(7, 10, 10), (20, 10, 2), (21, 10, 2), (9, 1, 4), (1, 1, 1)])
def test_changed_inputs_select_custom_and_are_counted_as_the_sampler_does(values, editor):
    node = editor.add(NODE)
    for name, value in zip(INPUTS, values, strict=True):
        editor.set_widget(node, name, value)
    editor.page.locator(NOTE, has_text=expected(*values)).wait_for()
    assert editor.widgets()[str(node)]["preset"] == "custom"

    workflow = editor.saved()
    editor.clear()
    editor.load(workflow)
    editor.page.locator(NOTE, has_text=expected(*values)).wait_for()


def test_connected_inputs_leave_the_count_unknown(editor):
    node = editor.add(NODE)
    editor.set_widget(node, "steps", 30)
    editor.page.evaluate(
        """(id) => {
          const number = LiteGraph.createNode("PrimitiveInt")
          app.graph.add(number)
          const node = app.graph.getNodeById(id)
          number.connect(0, node, node.inputs.findIndex(({ name }) => name === "steps"))
        }""",
        node,
    )
    editor.page.locator(NOTE, has_text="connected inputs").wait_for()
