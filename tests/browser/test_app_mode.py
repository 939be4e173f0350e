"""The template that opens in app mode: its inputs and its picture without the graph."""

import numpy as np

from .test_templates import open_template, saved

NAME = "quick_start.app"
_SHEET = "[data-testid=linear-center-panel] img[src*='digits']"


def test_the_app_template_opens_in_app_mode_and_draws_digits(editor):
    open_template(editor, NAME)
    panel = editor.page.get_by_test_id("linear-widgets")
    panel.get_by_text("steps").wait_for()
    skip = editor.page.get_by_role("button", name="Skip")  # newer editors show a tour of app mode
    if skip.count():
        skip.first.click()
    for name in ("model_name", "seed", "steps"):
        assert panel.get_by_text(name, exact=True).is_visible()
    assert panel.get_by_text("batch_size").count() == 0
    editor.shot("app_mode")

    steps = panel.locator("input").last
    steps.fill("20")
    steps.press("Enter")
    assert editor.run() == "success"
    pixels = editor.shot_of(editor.page.locator(_SHEET).first, "app_mode_picture")
    assert np.ptp(pixels) > 150, "the picture is blank"
    editor.shot("app_mode_run")
    sampler = editor.node("UnconditionalPNDMSampler")
    assert editor.widgets()[str(sampler)]["steps"] == 20
    editor.load(saved("quick_start_pndm"))  # the next test finds the editor as usual


def test_the_app_template_is_an_ordinary_workflow_where_there_is_no_app_mode(editor):
    workflow = saved(NAME)
    del workflow["extra"]["linearMode"]  # as an editor from before app mode reads it
    editor.load(workflow)
    assert editor.page.get_by_test_id("queue-button").first.is_visible()
    assert editor.run() == "success"
    output = editor.node("UnconditionalImageOutput")
    assert [shape[:2] for shape in editor.pictures(output)] == [[536, 536]]
