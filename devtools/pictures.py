"""`python -m devtools.pictures`: make the screenshots of the help pages and the README.

Each is a graph that is run in a real ComfyUI and captured in a real browser.
"""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page
from tqdm import tqdm

from .client import Client, Graph
from .editor import load, open_browser, open_editor
from .environment import ROOT
from .graphs import help_graph

HELP = ROOT / "web" / "docs" / "pictures"
_EDITOR = ROOT / "docs" / "editor.webp"
_SCHEDULE = ROOT / "docs" / "schedule.webp"
_QUICK_START = ROOT / "example_workflows" / "quick_start_pndm.json"
_WIDEST = 1200
# Where a graph is placed, next to the editor's menus, and the margin around it.
_CORNER = (100, 130)
_MARGIN = 12
_WIDTH = 330
_SCHEDULE_WIDTH = 600
_HELP_VIEW: Any = {"width": 800, "height": 1300}
_EDITOR_VIEW: Any = {"width": 1280, "height": 800}

_DOWNLOADED = ("UnconditionalUNetDownload", "UnconditionalConsistencySampler")

_SETTINGS = {
    "Comfy.TutorialCompleted": True,  # otherwise a dialog opens
    "Comfy.Minimap.Visible": False,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
    "Comfy.Execution.PreviewMethod": "none",  # otherwise previews stay on the samplers
}

_RUN = """async () => {
  const done = new Promise((resolve, reject) => {
    const failed = (event) => reject(event.detail.exception_message);
    app.api.addEventListener("execution_success", resolve, { once: true });
    app.api.addEventListener("execution_error", failed, { once: true });
  });
  await app.queuePrompt(0, 1);
  await done;
}"""

_SHOWN = """() => app.graph._nodes.every(
  (node) =>
    node.type !== "UnconditionalImageOutput" ||
    node.pos[0] < 0 ||
    !app.nodeOutputs[node.id] ||
    node.imgs?.[0]?.complete
)"""

# Show the picture's node, and below it the one with the result, because the help panel is narrow.
# The others are moved out of view, so their links come in from the left.
_ARRANGE = """([type, width, corner]) => {
  const nodes = [...app.graph._nodes].sort((a, b) => a.id - b.id);
  const shown = [nodes.filter((node) => node.type === type).at(-1)];
  if (nodes.at(-1) !== shown[0] && app.nodeOutputs[nodes.at(-1).id]) shown.push(nodes.at(-1));
  let y = 0;
  for (const node of nodes) {
    const isShown = shown.includes(node);
    if (!isShown) node.pos = [-1500, 0];
    else {
      node.setSize([width, Math.max(node.computeSize()[1], node.size[1])]);
      node.pos = [0, y];
      y += node.size[1] + 60;
    }
  }
  const top = 30;  // the title
  app.canvas.ds.scale = 1;
  app.canvas.ds.offset = [corner[0], corner[1] + top];
  app.canvas.deselectAll?.();
  app.canvas.setDirty(true, true);
  return y - 60 + top;
}"""

_HIDE_FOLDER = """(folder) => {
  for (const line of document.querySelectorAll(".unconditional-report div"))
    line.textContent = line.textContent.replace(folder, "ComfyUI");
}"""


def main() -> int:
    """Make the named pictures, or all, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m devtools.pictures", description=__doc__)
    parser.add_argument("names", nargs="*", help="nodes, editor, schedule (default: all)")
    names = parser.parse_args().names
    HELP.mkdir(parents=True, exist_ok=True)
    with open_browser() as (host, chromium):
        client = Client(host.url)
        client.post("/settings", _SETTINGS)
        ours = [name for name in client.get("/object_info") if name.startswith("Unconditional")]
        page = open_editor(host, chromium, viewport=_HELP_VIEW, device_scale_factor=1.5)
        readme = {_EDITOR.stem, _SCHEDULE.stem}
        for number, name in enumerate(tqdm([n for n in names or ours if n not in readme])):
            graph = _graph(name, 100 * number + 1)
            _save(_photograph(page, name, graph, host.folder), HELP / f"{name}.webp")
        if not names or readme & set(names):
            page = open_editor(host, chromium, viewport=_EDITOR_VIEW, device_scale_factor=1.5)
            _photograph_editor(page)
            node = "UnconditionalShowSchedule"
            graph = _graph(node, 10_001)
            _save(_photograph(page, node, graph, host.folder, _SCHEDULE_WIDTH), _SCHEDULE)
    return 0


def _graph(node: str, first: int) -> Graph:
    """Return the graph of a node with new ids: the editor keeps the results of earlier ids."""
    graph = help_graph(node, first)
    if graph is None:
        raise SystemExit(f"There is no graph for {node} in devtools/graphs.py.")
    return graph


def _photograph(page: Page, node: str, graph: Graph, folder: Path, width: int = _WIDTH) -> bytes:
    load(page, graph)
    if node not in _DOWNLOADED:  # it needs a network connection
        page.evaluate(_RUN)
    # The editor itself moves the view once after opening a graph, and it only loads the pictures of
    # nodes in view.
    arrange = [node, width, _CORNER]
    page.wait_for_timeout(500)
    page.evaluate(_ARRANGE, arrange)
    page.wait_for_function(_SHOWN)
    page.evaluate(_HIDE_FOLDER, str(folder))
    page.wait_for_timeout(500)
    height = page.evaluate(_ARRANGE, arrange)
    page.wait_for_timeout(500)
    if node == "UnconditionalShowSchedule":  # the values at a timestep
        page.mouse.move(_CORNER[0] + width / 3, _CORNER[1] + height / 2)
        page.wait_for_timeout(300)
    x, y = _CORNER[0] - _MARGIN, _CORNER[1] - _MARGIN
    width, height = width + 2 * _MARGIN, height + 2 * _MARGIN
    return page.screenshot(clip={"x": x, "y": y, "width": width, "height": height})


def _photograph_editor(page: Page) -> None:
    """Capture the quick start as a new user sees it."""
    page.evaluate("(workflow) => app.loadGraphData(workflow)", json.loads(_QUICK_START.read_text()))
    page.evaluate(_RUN)
    page.wait_for_function(_SHOWN)
    page.wait_for_timeout(1000)
    _save(page.screenshot(), _EDITOR)


def _save(screenshot: bytes, target: Path) -> None:
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    picture.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
    picture.save(target, quality=85, method=6)


if __name__ == "__main__":
    sys.exit(main())
