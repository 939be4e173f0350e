"""The help of each node, in the editor's own panel."""

import re

import pytest

from devtools.contract import NODES
from devtools.environment import ROOT

from .editor import Editor

_DOCS = ROOT / "web" / "docs"
_CHINESE = re.compile("[\u4e00-\u9fff]")


def opened(editor: Editor, name: str) -> str:
    """Open a node's help, wait for its pictures, and return its text."""
    panel = editor.open_help(editor.add(name))
    page = panel.locator(":is(.markdown-content, .comfy-markdown-content)")
    page.wait_for()
    editor.page.wait_for_function(
        """() => [...document.querySelectorAll('.node-help-content img')]
             .every((image) => image.complete && image.naturalWidth > 0)"""
    )
    return page.inner_text()


def heading(path: str) -> str:
    """The first heading of a help file."""
    lines = (_DOCS / path).read_text(encoding="utf-8").splitlines()
    return next(line.lstrip("# ") for line in lines if line.startswith("#"))


@pytest.mark.parametrize("name", NODES)
def test_the_help_of_a_node_opens_in_english(name, editor):
    text = opened(editor, name)
    localized = _DOCS / name / "en.md"
    assert heading(f"{name}/en.md" if localized.exists() else f"{name}.md") in text
    assert not _CHINESE.search(text)
    editor.shot(f"help_en_{name}")


@pytest.mark.parametrize("name", NODES)
def test_the_help_of_a_node_opens_in_chinese(name, chinese):
    text = opened(chinese, name)
    assert heading(f"{name}/zh.md") in text
    assert _CHINESE.search(text)
    chinese.shot(f"help_zh_{name}")
