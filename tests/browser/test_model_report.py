"""The report of a loader in its node after a run: what the model is, and what was assumed."""

import json
from pathlib import Path
from typing import Any

import foreign
import pytest
import torch
from templates import saved

from .editor import SETTINGS, Editor

LOADER = "UnconditionalUNetLoader"


@pytest.fixture
def models(editor_host: Any) -> Path:
    """The host's folder of models, with one single file whose heads are a guess."""
    folder = editor_host.folder / "models" / "diffusers"
    folder.mkdir(parents=True, exist_ok=True)
    model = foreign.randomise(foreign.OpenAI(heads=4, out=3, attention=(1, 2)))
    content = {"model": model.state_dict(), "model_ema": model.state_dict(), "epoch": 3}
    torch.save(content, folder / "guessed.pt")
    return folder


def workflow(**values: Any) -> dict[str, Any]:
    """The template, with two steps and other values for the loader's widgets."""
    template = saved("quick_start_pndm")
    nodes = {node["type"]: node for node in template["nodes"]}
    nodes["UnconditionalPNDMSampler"]["widgets_values"][2] = 2
    nodes["UnconditionalPNDMSampler"]["widgets_values"][3] = 1
    loader = nodes[LOADER]["widgets_values"]
    loader[0] = values.get("model_name", "digits-16")
    loader[2:] = [values.get("write_json", False)]
    return template


def report(editor: Editor, words: str) -> str:
    """Wait for the loader's report with these words in it, and return all of it."""
    note = editor.page.locator(".unconditional-report", has_text=words)
    note.wait_for()
    return note.inner_text()


def check_is_within_its_node(editor: Editor) -> None:
    editor.settle()
    editor.settle()
    box = editor.page.locator(".unconditional-report", has_text="DDPM").bounding_box()
    lines = editor.page.locator(".unconditional-report > div", has_text="DDPM").first
    last = lines.locator("xpath=../div[last()]").bounding_box()
    area = editor.area(editor.node(LOADER))
    assert box
    assert last
    assert area["x"] <= box["x"]
    assert area["y"] <= box["y"]
    assert area["height"] - (last["y"] + last["height"] - area["y"]) < 60, "room for nothing"
    for each in (box, last):
        assert each["x"] + each["width"] <= area["x"] + area["width"] + 1
        assert each["y"] + each["height"] <= area["y"] + area["height"] + 1


def test_after_a_run_the_loader_says_what_its_model_is(editor):
    editor.load(workflow())
    assert editor.run() == "success"
    said = report(editor, "DDPM")
    for words in (
        "diffusers",
        "16 \N{MULTIPLICATION SIGN} 16",
        "1 channel",
        "parameters",
        "predicts epsilon",
    ):
        assert words in said
    assert "T = 1000" in said
    assert "averaged: unknown" in said
    assert "ssumed" not in said
    check_is_within_its_node(editor)
    editor.fit()
    editor.shot("model_report")


def test_what_was_assumed_about_a_single_file_is_in_the_node_with_how_to_change_it(editor, models):
    editor.open(SETTINGS)  # which has a list of models that is not the host's of before
    editor.clear()
    editor.load(workflow(model_name="guessed.pt"))
    assert editor.run() == "success"
    said = report(editor, "OpenAI")
    assert "averaged (EMA) (model_ema)" in said
    assert "attention_head_dim" in said
    assert "beta_schedule squaredcos_cap_v2" in said
    assert "write the correct values to guessed.json. The advanced input write_json creates" in said
    check_is_within_its_node(editor)
    editor.fit()
    editor.shot("model_report_assumed")

    editor.set_widget(editor.node(LOADER), "write_json", True)
    assert editor.run() == "success"
    assert "Saved these values to guessed.json" in report(editor, "Saved")
    written = json.loads((models / "guessed.json").read_text())
    assert written["scheduler"]["num_train_timesteps"] == 4000
    check_is_within_its_node(editor)
    (models / "guessed.json").unlink()


def test_the_report_of_a_model_is_chinese_in_a_chinese_editor(chinese):
    chinese.load(workflow())
    assert chinese.run() == "success"
    said = report(chinese, "DDPM")
    assert "1 个通道" in said
    assert "是否平均" in said
    chinese.fit()
    chinese.shot("model_report_zh")


def test_nodes_of_the_page_show_the_report_of_a_model_whole(modern):
    modern.load(workflow())
    assert modern.run() == "success"
    report(modern, "DDPM")
    note = modern.page.locator(f"[data-node-id='{modern.node(LOADER)}'] .unconditional-report")
    assert note.evaluate("(note) => note.scrollHeight <= note.clientHeight + 1")
    modern.fit()
    modern.shot("model_report_modern")
