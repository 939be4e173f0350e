"""Nodes in the language of the editor."""

import json
import re
from typing import Any

from devtools.contract import NODES
from devtools.environment import ROOT

from .editor import SETTINGS


def words(language: str) -> dict[str, Any]:
    path = ROOT / "locales" / language / "nodeDefs.json"
    return json.loads(path.read_text(encoding="utf-8"))


_LABELS = """() => Object.fromEntries(app.graph._nodes.map((node) => [node.type, {
  title: node.title,
  inputs: Object.fromEntries((node.inputs ?? []).map((slot) =>
    [slot.name, slot.label ?? slot.localized_name ?? slot.name])),
  widgets: Object.fromEntries((node.widgets ?? []).map((widget) =>
    [widget.name, widget.label ?? widget.name])),
}]))"""


def test_titles_and_inputs_of_all_nodes_are_chinese_in_a_chinese_editor(chinese):
    for name in NODES:
        chinese.add(name)
    shown = chinese.page.evaluate(_LABELS)
    expected = words("zh")
    for name in NODES:
        assert shown[name]["title"] == expected[name]["display_name"]
        for key, entry in expected[name].get("inputs", {}).items():
            labels = {**shown[name]["inputs"], **shown[name]["widgets"]}
            assert labels[key] == entry["name"], (name, key)


def test_a_tooltip_is_chinese_in_a_chinese_editor(chinese):
    node = chinese.add("UnconditionalPNDMSampler")
    chinese.fit()
    shown = chinese.tooltip(node, "steps")
    expected = words("zh")["UnconditionalPNDMSampler"]["inputs"]["steps"]["tooltip"]
    assert re.search("[\u4e00-\u9fff]", expected)
    assert shown == expected
    chinese.shot("tooltip_zh")


def test_a_tooltip_is_english_in_an_english_editor(editor):
    node = editor.add("UnconditionalPNDMSampler")
    editor.fit()
    shown = editor.tooltip(node, "steps")
    declared = editor.page.evaluate(
        "() => LiteGraph.registered_node_types.UnconditionalPNDMSampler"
        ".nodeData.input.required.steps[1].tooltip"
    )
    assert shown == declared
    editor.shot("tooltip_en")


def test_an_editor_in_an_unsupported_language_shows_english(editor):
    editor.ensure({**SETTINGS, "Comfy.Locale": "fr"})
    editor.clear()
    editor.add("UnconditionalPNDMSampler")
    assert editor.page.evaluate(_LABELS)["UnconditionalPNDMSampler"]["title"] == "PNDM Sampler"


def test_english_words_are_counted_as_in_english_whatever_the_language(editor):
    editor.ensure({**SETTINGS, "Comfy.Locale": "fr"})  # where 0 is singular
    said = editor.page.evaluate(
        """async () => {
          const { words } = await import('/extensions/comfyui-unconditional/words.js')
          const say = await words()
          return [0, 1, 2].map((n) => say('run.steps', { n }))
        }"""
    )
    assert said == ["0 steps", "1 step", "2 steps"]
