"""The texts that the editor shows: complete in both languages, and help for every node."""

import json
import re
from typing import Any

import pytest

from devtools.client import Client
from devtools.environment import ROOT
from devtools.locales import ENGLISH, LOCALES, as_json, node_definitions

DOCS = ROOT / "web" / "docs"
HAN = re.compile(r"[\u4e00-\u9fff]")


def _read(language: str, file: str) -> Any:
    return json.loads((LOCALES / language / file).read_text(encoding="utf-8"))


def _leaves(content: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= _leaves(value, (*path, key))
        else:
            found[(*path, key)] = value
    return found


@pytest.fixture
def nodes(client: Client) -> dict[str, Any]:
    """The texts of the nodes themselves."""
    return node_definitions(client.get("/object_info"))


def test_the_english_words_are_those_of_the_nodes(nodes):
    assert nodes
    hint = "the nodes have changed: run 'python dev.py locales', then translate what differs"
    assert ENGLISH.read_text(encoding="utf-8") == as_json(nodes), hint


def test_every_node_input_option_and_output_has_a_text(nodes):
    assert not [path for path, words in _leaves(nodes).items() if not words]


def test_chinese_has_every_entry_and_no_other(nodes):
    chinese = _leaves(_read("zh", "nodeDefs.json"))
    wanted = _leaves(nodes)
    assert not wanted.keys() - chinese.keys(), "these have no entry"
    assert not chinese.keys() - wanted.keys(), "these entries have no node, input or option"
    assert list(_read("zh", "nodeDefs.json")) == list(nodes), "in the order of the nodes"


def test_titles_and_explanations_are_in_chinese():
    explaining = {"display_name", "description", "tooltip"}
    words = _leaves(_read("zh", "nodeDefs.json"))
    left = [path for path, text in words.items() if path[-1] in explaining and not HAN.search(text)]
    assert not left


def test_no_two_options_of_an_input_look_the_same():
    for language in ("en", "zh"):
        for node, words in _read(language, "nodeDefs.json").items():
            for name, entry in words.get("inputs", {}).items():
                labels = list(entry.get("options", {}).values())
                assert len(set(labels)) == len(labels), (language, node, name)


def test_the_words_of_the_page_have_the_same_keys_and_placeholders():
    english, chinese = (_leaves(_read(language, "main.json")) for language in ("en", "zh"))
    assert english.keys() == chinese.keys()
    for path, text in english.items():
        assert _placeholders(text) == _placeholders(chinese[path]), path


def _placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w*\}", text))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_is_read_as_the_syntax_of_the_editors_translations(language):
    for path, text in _leaves(_read(language, "nodeDefs.json")).items():
        assert not re.search(r"[@{}|]", text), (path, text)


def test_every_node_has_help_in_both_languages_that_names_all_inputs(nodes):
    for node, words in nodes.items():
        for path in (DOCS / f"{node}.md", DOCS / node / "zh.md"):
            # A long name marks where it may be broken: the panel is narrow.
            text = re.sub("</?code>", "`", path.read_text(encoding="utf-8").replace("<wbr>", ""))
            missing = [name for name in words.get("inputs", {}) if f"`{name}`" not in text]
            assert not missing, f"{path.relative_to(ROOT)} leaves out {missing}"


def test_every_help_page_has_a_picture_of_its_node(nodes):
    for node in nodes:
        for path in (DOCS / f"{node}.md", DOCS / node / "zh.md"):
            (picture,) = re.findall(r"^!\[.+\]\((.+)\)$", path.read_text(encoding="utf-8"), re.M)
            assert picture == f"pictures/{node}.webp"
        assert (DOCS / picture).stat().st_size > 2000
    assert {path.stem for path in (DOCS / "pictures").iterdir()} == set(nodes)


@pytest.mark.parametrize(
    "node", ["EmptyLatent", "ImageToLatent", "PNDMSampler", "DDPMSampler", "DDIMSampler"]
)
def test_help_says_which_node_to_use_instead_of_upscale_latent(node):
    english = DOCS / f"Unconditional{node}.md"
    chinese = DOCS / f"Unconditional{node}" / "zh.md"  # with ComfyUI's own Chinese titles
    assert "*Upscale Latent By*" in english.read_text(encoding="utf-8")
    assert "缩放Latent" in chinese.read_text(encoding="utf-8")


def test_every_help_page_has_its_node(nodes):
    assert {path.stem for path in DOCS.glob("*.md")} == set(nodes)
    translated = {path.relative_to(DOCS).as_posix() for path in DOCS.glob("*/*.md")}
    assert translated == {f"{node}/zh.md" for node in nodes}


def test_chinese_help_is_chinese_and_has_the_sections_of_the_english(nodes):
    for node in nodes:
        english = (DOCS / f"{node}.md").read_text(encoding="utf-8")
        chinese = (DOCS / node / "zh.md").read_text(encoding="utf-8")
        assert len(HAN.findall(chinese)) > 100, node
        for mark in (r"^#", r"^- ", r"arXiv [\d.]+", r"^!\["):
            counts = [len(re.findall(mark, text, re.MULTILINE)) for text in (english, chinese)]
            assert counts[0] == counts[1], (node, mark)


def test_no_help_page_has_a_table_which_the_narrow_panel_of_the_editor_would_cut_off():
    pages = [*DOCS.glob("*.md"), *DOCS.glob("*/*.md")]
    tables = [path for path in pages if re.search(r"^\|", path.read_text("utf-8"), re.MULTILINE)]
    assert not tables, "write a list instead"


def test_chinese_help_has_the_title_of_its_node():
    for node, words in _read("zh", "nodeDefs.json").items():
        first = (DOCS / node / "zh.md").read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# {words['display_name']}"


def test_the_editor_is_served_both_languages(client):
    served = client.get("/i18n")
    for language in ("en", "zh"):
        ours = _read(language, "main.json") | {"nodeDefs": _read(language, "nodeDefs.json")}
        served_leaves = _leaves(served[language])
        for path, text in _leaves(ours).items():
            assert served_leaves[path] == text
