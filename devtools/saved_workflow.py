"""`python -m devtools.saved_workflow`: write this release's file in `tests/workflows/`.

It is the graph `every_node` of `devtools/graphs.py`. The page writes the values by position.
"extra" has them by name, so a test can check that a later release still reads them the same way.
The graph is not run: the model that it downloads exists only in the tests.
"""

import json
import re
import sys
from typing import Any

from playwright.sync_api import Page

from .editor import load, open_browser, open_editor
from .environment import ROOT
from .graphs import every_node

WORKFLOWS = ROOT / "tests" / "workflows"

_SAVE = "() => { app.graph.arrange(60); return JSON.stringify(app.graph.serialize()); }"


def make(page: Page) -> tuple[dict[str, Any], set[str]]:
    """Build the graph in an editor; return it as saved, and the types that the editor lacks."""
    page.keyboard.press("Escape")  # the templates of the first run
    graph = every_node()
    load(page, graph)
    workflow = json.loads(page.evaluate(_SAVE))
    meant = {
        key: {name: value for name, value in node["inputs"].items() if not isinstance(value, list)}
        for key, node in graph.items()
        if node["class_type"].startswith("Unconditional")
    }
    workflow["extra"] = {"meant": meant}
    made = {node["type"] for node in workflow["nodes"]}
    return workflow, {node["class_type"] for node in graph.values()} - made


def main() -> int:
    """Write the file of the version in pyproject.toml, and return the exit status."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert found, "pyproject.toml has no version"
    path = WORKFLOWS / f"{found[1]}.json"
    if path.exists():
        print(
            f"{path.name} exists already, and the file of a release must not change. Increase the "
            f"version in pyproject.toml or, if {found[1]} is not released yet, delete that file.",
            file=sys.stderr,
        )
        return 1
    with open_browser() as opened:
        workflow, missing = make(open_editor(*opened))
    if missing:
        lacking = ", ".join(sorted(missing))
        print(f"Nothing was written: the editor does not have {lacking}.", file=sys.stderr)
        return 1
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(workflow, indent=1) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(workflow['nodes'])} nodes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
