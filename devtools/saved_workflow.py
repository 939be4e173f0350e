"""`python -m devtools.saved_workflow`: write this release's file in `tests/workflows/`.

It is the graph `every_node` of `devtools/graphs.py`. The page writes the values by position.
"extra" has them by name, so a test can check that a later release still reads them the same way.
The graph is not run: the model that it downloads exists only in the tests.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from .browser import ARGUMENTS, NO_BROWSER, find_browser
from .environment import ROOT
from .graphs import every_node
from .host import Host

WORKFLOWS = ROOT / "tests" / "workflows"

_BUILD = """async (prompt) => {
  await app.loadApiJson(prompt, "saved");
  for (const node of app.graph._nodes)
    for (const widget of node.widgets ?? [])
      if (widget.name === "control_after_generate") widget.value = "fixed";
  app.graph.arrange(60);
  return JSON.stringify(app.graph.serialize());
}"""


def make(page: Page) -> tuple[dict[str, Any], set[str]]:
    """Build the graph in an editor; return it as saved, and the types that the editor lacks."""
    page.keyboard.press("Escape")  # the templates of the first run
    graph = every_node()
    workflow = json.loads(page.evaluate(_BUILD, graph))
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
    browser = find_browser()
    if browser is None:
        print(NO_BROWSER, file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Host(Path(folder)) as host,
        sync_playwright() as playwright,
    ):
        page = playwright.chromium.launch(executable_path=browser, args=ARGUMENTS).new_page()
        page.goto(host.url)
        ready = "() => !!(window.app?.graph && LiteGraph.registered_node_types.EmptyImage)"
        page.wait_for_function(ready, timeout=120_000)
        workflow, missing = make(page)
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
