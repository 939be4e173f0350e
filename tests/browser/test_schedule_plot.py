"""The picture that Show Schedule draws of a noise schedule."""

import re
from typing import Any

import numpy as np
import pytest

from .editor import SETTINGS, Editor

_PLOT = ".unconditional-schedule svg"

# Red, green, blue of the three curves, as the style sheet has them.
_CURVES = """() => ['alphas-cumprod', 'betas', 'snr'].map((name) => {
  const curve = document.querySelector(`.unconditional-${name} .curve`)
  return getComputedStyle(curve).stroke.match(/[0-9.]+/g).slice(0, 3).map(Number)
})"""


def draw(editor: Editor, steps: int = 10) -> int:
    """Run a loader and Show Schedule, wait for the drawing, and return the node."""
    prompt: dict[str, Any] = {
        "1": {
            "class_type": "UnconditionalUNetLoader",
            "inputs": {"model_name": "digits-16", "dtype": "auto"},
        },
        "2": {
            "class_type": "UnconditionalShowSchedule",
            "inputs": {"model": ["1", 0], "steps": steps},
        },
    }
    editor.load_prompt(prompt)
    assert editor.run() == "success"
    editor.page.locator(_PLOT).wait_for()
    editor.settle()
    return editor.node("UnconditionalShowSchedule")


def plot(editor: Editor, name: str) -> np.ndarray:
    """The pixels of the drawing."""
    box = editor.page.locator(_PLOT).bounding_box()
    assert box
    return editor.shot(name, box).astype(int)


def columns_with(pixels: np.ndarray, colour: list[float]) -> float:
    """The share of the columns that contain a colour."""
    near = np.abs(pixels - np.array(colour)).max(axis=2) < 40
    return float(near.any(axis=0).mean())


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_the_three_curves_are_drawn_across_the_plot_in_each_theme(palette, editor):
    editor.ensure({**SETTINGS, "Comfy.ColorPalette": palette})
    editor.clear()
    draw(editor)
    pixels = plot(editor, f"schedule_{palette}")
    background = np.median(pixels.reshape(-1, 3), axis=0)
    for colour in editor.page.evaluate(_CURVES):
        assert columns_with(pixels, colour) > 0.7, colour
        assert np.abs(background - np.array(colour)).max() > 80, "it can hardly be seen"
    editor.shot(f"schedule_page_{palette}")


def test_the_curves_are_sharp_on_a_screen_of_twice_the_density(sharp):
    draw(sharp)
    box = sharp.page.locator(_PLOT).bounding_box()
    pixels = plot(sharp, "schedule")
    assert box
    assert abs(pixels.shape[1] - 2 * box["width"]) <= 4
    # A drawing that is enlarged has its pixels in equal pairs; a sharp one does not.
    pairs = pixels[:, : pixels.shape[1] // 2 * 2].reshape(len(pixels), -1, 2, 3)
    edges = np.abs(np.diff(pixels, axis=1)).max(axis=2) > 60
    assert edges.any()
    assert (np.abs(pairs[:, :, 0] - pairs[:, :, 1]).max(axis=2) > 60).any()
    assert (edges[:, 0::2].sum() > 20) & (edges[:, 1::2].sum() > 20)
    sharp.shot("schedule_page")


def test_the_values_of_the_timestep_under_the_mouse_are_shown_and_go_with_it(editor):
    draw(editor)
    box = editor.page.locator(_PLOT).bounding_box()
    assert box
    value = editor.page.locator(".unconditional-alphas-cumprod .value")
    shown: list[float] = []
    for share in (0.3, 0.5, 0.9):
        editor.page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        editor.page.wait_for_function(
            """(before) => {
              const text = document.querySelector('.unconditional-alphas-cumprod .value')
              return text?.textContent && text.textContent !== before
            }""",
            arg=str(shown[-1]) if shown else "",
        )
        shown.append(float(value.text_content() or "nan"))
    assert shown == sorted(shown, reverse=True)
    assert 1 >= shown[0] > shown[-1] >= 0
    now = editor.page.locator(".unconditional-schedule .now").text_content() or ""
    assert re.fullmatch(r"t = \d+", now)
    editor.shot("schedule_hover")
    editor.page.mouse.move(30, 450)
    editor.page.wait_for_function(
        "() => !document.querySelector('.unconditional-alphas-cumprod .value').textContent"
    )


def test_the_plot_follows_the_size_of_its_node(editor):
    node = draw(editor)
    before = editor.page.locator(_PLOT).bounding_box()
    editor.page.evaluate(
        """(id) => {
          const node = app.graph.getNodeById(id)
          node.setSize([node.size[0] + 200, node.size[1]])
          app.canvas.setDirty(true, true)
        }""",
        node,
    )
    assert before
    editor.page.wait_for_function(
        "([selector, width]) => document.querySelector(selector).getBoundingClientRect().width"
        " > width + 50",
        arg=[_PLOT, before["width"]],
    )


def test_a_removed_node_takes_its_plot_with_it(editor):
    node = draw(editor)
    editor.page.evaluate("(id) => app.graph.remove(app.graph.getNodeById(id))", node)
    editor.page.locator(".unconditional-schedule").wait_for(state="detached")


def test_the_plot_is_labelled_in_chinese_in_a_chinese_editor(chinese):
    draw(chinese)
    words = chinese.page.locator(".unconditional-schedule").text_content() or ""
    assert re.search("[\u4e00-\u9fff]", words)
    chinese.shot("schedule_zh")
