"""The subgraph blueprints: from the node library to the picture."""

import json
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator

from devtools.environment import ROOT

from .editor import Editor

_FOLDER = ROOT / "subgraphs"
BLUEPRINTS = sorted(path.stem for path in _FOLDER.glob("*.json"))
DRAW, IMAGE_TO_IMAGE = "Draw from a Model (Unconditional)", "Image to Image (Unconditional)"

# Newer editors have it as a test id, older ones as a class.
_LIBRARY = ":is([data-testid=node-library-tab-button], .node-library-tab-button)"

_CONNECT = """() => {
  const [source, target] = app.graph._nodes
  source.connect(0, target, 0)
}"""


def saved(name: str) -> dict[str, Any]:
    return json.loads((_FOLDER / f"{name}.json").read_text())


def place(editor: Editor, name: str, at: tuple[int, int]) -> None:
    """Put a blueprint onto the canvas from the node library."""
    page = editor.page
    page.locator(_LIBRARY).click()
    library = page.locator(".side-bar-panel")
    for folder in ("Comfy Blueprints", "unconditional"):
        library.get_by_text(folder, exact=True).first.click()
    library.get_by_text(name).click()
    editor.shot(f"library_{name.split()[0].lower()}")
    page.mouse.move(*at, steps=3)
    page.mouse.click(*at)
    page.locator(_LIBRARY).click()
    page.wait_for_function("(name) => app.graph._nodes.at(-1)?.title === name", arg=name)


def pictures(editor: Editor) -> Locator:
    """The pictures that the subgraph's own node shows."""
    return editor.page.locator(".lg-node img[src*='unconditional_']")


def test_there_are_two_blueprints_and_neither_contains_a_subgraph():
    assert [DRAW, IMAGE_TO_IMAGE] == BLUEPRINTS
    for name in BLUEPRINTS:
        (subgraph,) = saved(name)["definitions"]["subgraphs"]
        assert subgraph["name"] == name
        assert subgraph["category"] == "unconditional"
        assert subgraph["description"]
        assert all("-" not in node["type"] for node in subgraph["nodes"])


@pytest.mark.parametrize(
    ("name", "widgets"),
    [
        (DRAW, ["model_name", "seed", "steps", "batch_size"]),
        (IMAGE_TO_IMAGE, ["model_name", "seed", "steps", "denoise"]),
    ],
)
def test_a_blueprint_from_the_node_library_has_its_widgets_and_draws(name, widgets, modern):
    if name == IMAGE_TO_IMAGE:
        modern.add("EmptyImage")
    place(modern, name, (700, 250))
    if name == IMAGE_TO_IMAGE:
        modern.page.evaluate(_CONNECT)
    (node,) = [key for key, found in modern.widgets().items() if list(found) == widgets]
    shown = modern.widgets()[node]
    assert shown["model_name"] == "digits-16"
    modern.set_widget(int(node), "steps", 20)
    assert modern.run() == "success"
    short = name.split()[0].lower()
    pixels = modern.shot_of(pictures(modern).first, f"blueprint_{short}_picture")
    assert np.ptp(pixels) > 150, "the picture is blank"
    modern.fit()
    modern.shot(f"blueprint_{short}")


def test_one_blueprint_s_images_go_into_the_other(modern):
    place(modern, DRAW, (480, 200))
    place(modern, IMAGE_TO_IMAGE, (860, 200))
    modern.page.evaluate(_CONNECT)
    drawn, changed = modern.widgets().values()
    assert (drawn["seed"], drawn["batch_size"]) == (0, 16)
    assert (changed["seed"], changed["denoise"]) == (100, 0.65)
    assert modern.run() == "success"
    for k in range(2):
        pixels = modern.shot_of(pictures(modern).nth(k), f"blueprints_together_{k}")
        assert np.ptp(pixels) > 150, "the picture is blank"
    modern.fit()
    modern.shot("blueprints_together")
