"""`python -m devtools.saved_workflow`: write this release's file in `tests/workflows/`.

It is the graph of `devtools/every_node.py`. The page writes the values by position. "extra" has
them by name, so a test can check that a later release still reads them the same way. The graph is
not run: the model that it downloads exists only in the tests.
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
from .every_node import EVERY_NODE
from .host import Host

WORKFLOWS = ROOT / "tests" / "workflows"

_BUILD = """
(nodes) => {
    const { app, LiteGraph } = window
    app.graph.clear()
    const made = {}, missing = [], expected = {}
    for (const [name, [type, inputs]] of Object.entries(nodes)) {
        const sources = Object.values(inputs).filter(Array.isArray)
        const node = sources.every(([source]) => made[source]) && LiteGraph.createNode(type)
        if (!node) { missing.push(type); continue }
        app.graph.add(node)
        made[name] = node
    }
    for (const [name, node] of Object.entries(made)) {
        const values = {}
        for (const [input, value] of Object.entries(nodes[name][1])) {
            if (Array.isArray(value)) {
                const slot = node.inputs.findIndex((found) => found.name === input)
                if (slot < 0 || !made[value[0]].connect(value[1], node, slot))
                    throw new Error(`${name}.${input} does not take ${value}`)
                continue
            }
            const widget = node.widgets.find((found) => found.name === input)
            if (!widget) { missing.push(`${node.type}.${input}`); continue }
            widget.value = values[input] = value
        }
        for (const widget of node.widgets ?? [])
            if (widget.name === "control_after_generate") widget.value = "fixed"
        expected[node.id] = values
    }
    app.graph.arrange(60)
    const workflow = app.graph.serialize()
    return JSON.stringify({ workflow, expected, missing })
}
"""


def make(page: Page) -> tuple[dict[str, Any], list[str]]:
    """Build the graph in an editor; return it as saved, and the missing types and inputs."""
    page.keyboard.press("Escape")  # the templates of the first run
    built = json.loads(page.evaluate(_BUILD, EVERY_NODE))
    workflow = built["workflow"]
    ours = {str(n["id"]) for n in workflow["nodes"] if n["type"].startswith("Unconditional")}
    meant = {key: values for key, values in built["expected"].items() if key in ours}
    workflow["extra"] = {"meant": meant}
    return workflow, built["missing"]


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
        lacking = ", ".join(sorted(set(missing)))
        print(f"Nothing was written: the editor does not have {lacking}.", file=sys.stderr)
        return 1
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(workflow, indent=1) + "\n", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(workflow['nodes'])} nodes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
