"""Each example workflow, from the template browser to its picture."""

import contextlib
import itertools
from typing import Any

import pytest
from playwright.sync_api import TimeoutError
from templates import NAMES as TEMPLATES
from templates import SHORTER, saved

from devtools.workflows import to_prompt

from .editor import Editor

# It needs a Stable Diffusion checkpoint of several gigabytes: the host's tests run it on a
# substitute. Its picture in the template browser shows its graph.
NOT_RUN = "pndm_on_a_checkpoint"


def open_browser(editor: Editor) -> None:
    """Open the template browser at the pack's category."""
    page = editor.page
    page.locator(".templates-tab-button").click()
    page.get_by_role("dialog").get_by_text("comfyui-unconditional").first.click()
    page.get_by_test_id(f"template-workflow-{TEMPLATES[0]}").wait_for()


def open_template(editor: Editor, name: str) -> None:
    """Click a template until it opens: a click on a list that is being redrawn is lost."""
    open_browser(editor)
    card = editor.page.get_by_test_id(f"template-workflow-{name}")
    for _ in range(3):
        card.click()
        with contextlib.suppress(TimeoutError):
            card.wait_for(state="detached", timeout=20_000)
        if not card.count():
            return
    raise AssertionError(f"{name} does not open")


def test_the_template_browser_lists_every_template_with_its_picture(editor):
    open_browser(editor)
    assert editor.page.locator("[data-testid^=template-workflow-]").count() == len(TEMPLATES)
    for name in TEMPLATES:
        card = editor.page.get_by_test_id(f"template-workflow-{name}")
        card.scroll_into_view_if_needed()
        thumbnail = card.locator("img").first
        editor.page.wait_for_function(
            "(image) => image.complete && image.naturalWidth > 0", arg=thumbnail.element_handle()
        )
        # If ours is not found, the editor shows its own picture.
        assert "default" not in (thumbnail.get_attribute("src") or ""), name
    editor.page.get_by_test_id(f"template-workflow-{TEMPLATES[0]}").scroll_into_view_if_needed()
    editor.shot("templates")


def overlapping(editor: Editor) -> list[tuple[int, int]]:
    """The pairs of nodes that overlap, titles included."""
    boxes: list[list[float]] = editor.page.evaluate(
        """() => app.graph._nodes.map(({ id, pos, size }) =>
             [id, pos[0], pos[1] - 30, pos[0] + size[0], pos[1] + size[1]])"""
    )
    return [
        (int(a[0]), int(b[0]))
        for a, b in itertools.combinations(boxes, 2)
        if a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]
    ]


def run_and_look(editor: Editor, name: str, workflow: dict[str, Any]) -> None:
    """Run an open template, with the values that shorten it, and look at what it shows."""
    kinds = {node["id"]: node["type"] for node in workflow["nodes"]}
    for node, widgets in editor.widgets().items():
        if widgets.get("steps", 0) > 100:  # a thousand would take long
            editor.set_widget(int(node), "steps", 100)
        for widget, value in SHORTER.get(name, {}).get(kinds[int(node)], {}).items():
            editor.set_widget(int(node), widget, value)
    assert editor.run() == "success"
    pictures = [node for node, kind in kinds.items() if kind == "UnconditionalImageOutput"]
    plots = [node for node, kind in kinds.items() if kind == "UnconditionalShowSchedule"]
    assert pictures or plots
    for node in pictures:
        for width, height, darkest, brightest in editor.pictures(node):
            assert width > 1 < height
            assert brightest - darkest > 150, "the picture is blank"
    editor.page.wait_for_function(
        "(count) => document.querySelectorAll('.unconditional-schedule svg').length === count",
        arg=len(plots),
    )
    # Previews and reports have made nodes taller.
    assert overlapping(editor) == []
    editor.fit()
    editor.shot(f"run_{name}")


# The app is opened by a click in test_app_mode.py.
@pytest.mark.parametrize("name", [name for name in TEMPLATES if not name.endswith(".app")])
def test_a_template_opens_by_a_click_with_its_values_runs_and_shows_its_picture(name, editor):
    open_template(editor, name)
    expected = saved(name)
    editor.page.wait_for_function(
        "(count) => app.graph._nodes.length === count", arg=len(expected["nodes"])
    )
    unknown = editor.page.evaluate(
        """() => app.graph._nodes.map((node) => node.type)
             .filter((type) => !LiteGraph.registered_node_types[type])"""
    )
    assert unknown == []
    notes = [node for node in expected["nodes"] if node["type"] in ("Note", "MarkdownNote")]
    assert notes

    # Each value on the input that the host's tests put it on.
    info = editor.page.evaluate("() => fetch('/api/object_info').then((answer) => answer.json())")
    prompt = to_prompt(expected, info)
    shown = editor.widgets()
    for key, node in prompt.items():
        for widget, value in node["inputs"].items():
            if not isinstance(value, list):
                assert shown[key][widget] == value, (node["class_type"], widget)
    editor.fit()
    editor.shot(f"template_{name}")
    if name != NOT_RUN:
        run_and_look(editor, name, expected)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_legible_in_a_small_window(name):
    nodes = saved(name)["nodes"]
    width, height = (
        max(node["pos"][k] + node["size"][k] for node in nodes)
        - min(node["pos"][k] for node in nodes)
        for k in (0, 1)
    )
    # The editor opens it on three quarters of the window, with ten pixels around it.
    assert 0.75 * 1280 / (width + 20) > 0.69
    assert 0.75 * 800 / (height + 50) > 0.69


def test_the_nodes_of_each_template_stay_apart_in_chinese(chinese):
    # Names and options are longer there, and make nodes wider.
    for name in TEMPLATES:
        chinese.load(saved(name))
        assert overlapping(chinese) == [], name
