"""ComfyUI's editor in a browser, for programs that capture something from it."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from .browser import ARGUMENTS, NO_BROWSER, find_browser
from .client import Graph
from .host import Host

_LOAD = """async (prompt) => {
  await app.loadApiJson(prompt, "graph");
  for (const node of app.graph._nodes)
    for (const widget of node.widgets ?? [])
      if (widget.name === "control_after_generate") widget.value = "fixed";
}"""


@contextmanager
def open_browser() -> Iterator[tuple[Host, Browser]]:
    """Start a ComfyUI and a browser; exit with a message if there is no browser."""
    browser = find_browser()
    if browser is None:
        print(NO_BROWSER, file=sys.stderr)
        raise SystemExit(1)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Host(Path(folder)) as host,
        sync_playwright() as playwright,
    ):
        yield host, playwright.chromium.launch(executable_path=browser, args=ARGUMENTS)


def open_editor(host: Host, browser: Browser, **options: Any) -> Page:
    """Return a page with the editor, ready for a graph."""
    page = browser.new_page(**options)
    page.goto(host.url)
    ready = (
        "() => !!(window.app?.graph && window.app.canvas && window.app.extensionManager"
        " && LiteGraph.registered_node_types.EmptyImage)"
    )
    page.wait_for_function(ready, timeout=120_000)
    return page


def load(page: Page, graph: Graph) -> None:
    """Open a graph; its seeds stay as they are after a run."""
    page.evaluate(_LOAD, graph)
