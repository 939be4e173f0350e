"""The editor's page, as a user sees and operates it."""

import base64
import contextlib
import json
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    Route,
    TimeoutError,
)

from devtools.client import Graph
from devtools.host import Host

EXTENSION = "/extensions/comfyui-unconditional/"

_MAY_BE_ABSENT = (
    # The editor requests help in its own language first, then the file without a language.
    rf"{EXTENSION}docs/\w+/\w+\.md$",
)

SETTINGS: dict[str, Any] = {
    "Comfy.TutorialCompleted": True,  # otherwise a dialog covers the first page
    "Comfy.Minimap.Visible": False,  # it would cover nodes
    "Comfy.Workflow.Persist": False,  # each page starts empty
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.Locale": "en",
    "Comfy.ColorPalette": "dark",
    "Comfy.VueNodes.Enabled": False,
    "LiteGraph.Node.TooltipDelay": 0,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # show text even if a large graph is drawn small
}

# Whether the page has opened its first workflow, which may be empty, and is not loading. A workflow
# loaded while the page's cover is fading would make the cover stay, and it takes every click.
_READY = """window.app?.vueAppReady && app.extensionManager?.workflow?.activeWorkflow
  && !app.extensionManager.spinner && !document.querySelector('.p-blockui-mask')"""

# Whether the buttons over a selected node are there. A page that has just been loaded does not
# react yet, so the node is selected again from time to time.
_SELECTED = """(id) => {
  if (document.querySelector('[data-testid=info-button]')) return true
  if (performance.now() < (window.seenByTests.selected ?? 0) + 1000) return false
  window.seenByTests.selected = performance.now()
  app.canvas.deselectAll()
  app.canvas.selectNode(app.graph.getNodeById(id))
  return false
}"""

# How each prompt ended, and the progress of the running one, from the host's own messages.
_LISTEN = """() => {
  const seen = (window.seenByTests = { ended: {}, progress: {}, executed: {} })
  const end = (how) => (event) => { seen.ended[event.detail.prompt_id] = how }
  app.api.addEventListener('execution_success', end('success'))
  app.api.addEventListener('execution_error', end('error'))
  app.api.addEventListener('execution_interrupted', end('interrupted'))
  app.api.addEventListener('progress', ({ detail }) => {
    seen.progress[detail.prompt_id] = detail.value
  })
}"""

_HAS_PICTURES = """(id) => {
  const images = app.graph.getNodeById(id).imgs
  return images?.length && images.every((image) => image.complete && image.naturalWidth)
}"""

# (width, height, darkest, brightest) of each picture of a node.
_PICTURES = """(id) => {
  return app.graph.getNodeById(id).imgs.map((image) => {
    const canvas = document.createElement('canvas')
    canvas.width = image.naturalWidth
    canvas.height = image.naturalHeight
    const context = canvas.getContext('2d')
    context.drawImage(image, 0, 0)
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height)
    let low = 255, high = 0
    for (let i = 0; i < data.length; i += 4) {
      low = Math.min(low, data[i])
      high = Math.max(high, data[i])
    }
    return [canvas.width, canvas.height, low, high]
  })
}"""

# The Run buttons of the graph and of app mode.
_RUN_BUTTON = (
    ":is([data-testid=queue-button], button:has([data-testid=linear-run-button-icon])):visible"
)

# A rectangle of the graph [x, y, width, height] in the page's pixels.
_IN_PAGE = """([x, y, width, height]) => {
  const { ds, canvas } = app.canvas
  const box = canvas.getBoundingClientRect()
  return {
    x: box.x + (x + ds.offset[0]) * ds.scale,
    y: box.y + (y + ds.offset[1]) * ds.scale,
    width: width * ds.scale,
    height: height * ds.scale,
  }
}"""

_DROP = """([content, name, type]) => {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0))
  const transfer = new DataTransfer()
  transfer.items.add(new File([bytes], name, { type }))
  const canvas = app.canvas.canvas
  const box = canvas.getBoundingClientRect()
  const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 }
  for (const kind of ['dragenter', 'dragover', 'drop']) {
    const options = { ...at, dataTransfer: transfer, bubbles: true, cancelable: true }
    canvas.dispatchEvent(new DragEvent(kind, options))
  }
}"""


class Editor:
    """A page of ``host``'s editor, for a ``with`` block.

    Args:
        browser: where it opens.
        host: a running ComfyUI.
        screenshots: the folder for ``shot``.
        density: device pixels for each pixel of the page.
    """

    def __init__(self, browser: Browser, host: Host, screenshots: Path, *, density: int = 1):
        self.host, self._screenshots, self._density = host, screenshots, density
        self._context = browser.new_context(
            viewport={"width": 1280, "height": 800}, device_scale_factor=density
        )
        self._context.set_default_timeout(60_000)  # a busy machine takes long
        self.page: Page = self._context.new_page()
        self._settings: dict[str, Any] | None = None
        self._complaints: list[str] = []
        self.page.route(lambda url: not url.startswith(host.url), _refuse)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self._complain(f"{error}\n{error.stack}"))
        self.page.on("response", self._on_response)

    def __enter__(self) -> "Editor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.close()

    def complaints(self) -> list[str]:
        """Return the errors that concern our files or messages since the last call."""
        found, self._complaints = self._complaints, []
        return found

    def ensure(self, settings: Mapping[str, Any]) -> None:
        """Open the page with these settings, unless it is open with them."""
        if settings != self._settings:
            self.open(settings)

    def open(self, settings: Mapping[str, Any]) -> None:
        """Open the page again, as a user with these settings."""
        request = urllib.request.Request(
            f"{self.host.url}/settings",
            data=json.dumps(settings).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=60).close()
        self.page.goto(self.host.url, wait_until="domcontentloaded")
        self.page.wait_for_function(_READY)
        self.page.evaluate(_LISTEN)
        self._settings = dict(settings)

    def clear(self) -> None:
        """Leave an empty graph, no app mode, and no open dialog or panel."""
        self.page.mouse.move(30, 450)
        dialogs = self.page.get_by_role("dialog")
        if dialogs.count():
            self.page.keyboard.press("Escape")
            dialogs.first.wait_for(state="detached")
        self.page.evaluate(
            """async (panel) => {
              await app.extensionManager.setting.set(panel, false)
              if (document.querySelector('[data-testid=linear-run-button]'))
                await app.extensionManager.command.execute('Comfy.ToggleLinear')
              app.canvas.deselectAll()
              app.clean()
              app.graph.clear()
            }""",
            "Comfy.RightSidePanel.IsOpen",
        )
        self.page.get_by_test_id("info-button").wait_for(state="detached")
        self.page.locator(".node-help-content").wait_for(state="detached")

    def load(self, workflow: Mapping[str, Any]) -> None:
        """Open a workflow, as the editor's menu does, with all of it in view."""
        self.page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
        self.fit()

    def load_prompt(self, prompt: Graph) -> None:
        """Open a graph in the API format, as the editor opens such a file."""
        self.page.evaluate("(prompt) => app.loadApiJson(prompt, 'test')", prompt)
        self.fit()

    def fit(self) -> None:
        """Bring the whole graph into view."""
        self.page.evaluate(
            """() => {
              app.canvas.deselectAll()
              const nodes = app.graph._nodes
              const left = Math.min(...nodes.map(({ pos }) => pos[0]))
              const top = Math.min(...nodes.map(({ pos }) => pos[1])) - 90 // its title, the menus
              const right = Math.max(...nodes.map(({ pos, size }) => pos[0] + size[0]))
              const bottom = Math.max(...nodes.map(({ pos, size }) => pos[1] + size[1]))
              // Not larger than life.
              const wider = Math.max(0, 900 - (right - left)) / 2
              const higher = Math.max(0, 560 - (bottom - top)) / 2
              const size = [right - left + 2 * wider, bottom - top + 2 * higher]
              app.canvas.ds.fitToBounds([left - wider, top - higher, ...size])
              app.canvas.setDirty(true, true)
            }"""
        )
        self.settle()

    def settle(self) -> None:
        """Wait until the page has been redrawn twice."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def start(self) -> str:
        """Press Run and return the prompt's id."""
        with self.page.expect_response(
            lambda answer: answer.url.endswith("/prompt") and answer.request.method == "POST"
        ) as answer:
            self.page.locator(_RUN_BUTTON).first.click()
        content = answer.value.json()
        assert answer.value.ok, content
        return content["prompt_id"]

    def wait(self, prompt: str) -> str:
        """Return how a prompt ended: success, error or interrupted."""
        handle = self.page.wait_for_function("(id) => seenByTests.ended[id]", arg=prompt)
        return handle.json_value()

    def run(self) -> str:
        """Press Run and return how it ended."""
        return self.wait(self.start())

    def pictures(self, node: int) -> list[list[int]]:
        """Wait for a node's pictures: (width, height, darkest, brightest) of each."""
        self.page.wait_for_function(_HAS_PICTURES, arg=node)
        return self.page.evaluate(_PICTURES, node)

    def node(self, kind: str) -> int:
        """Return the id of the graph's only node of a kind."""
        found = self.page.evaluate(
            "(kind) => app.graph._nodes.filter((n) => n.type === kind).map((n) => n.id)", kind
        )
        assert len(found) == 1, found
        return found[0]

    def add(self, kind: str) -> int:
        """Put a node into the graph and return its id."""
        return self.page.evaluate(
            """(kind) => {
              const node = LiteGraph.createNode(kind)
              node.pos = [40, 160]
              app.graph.add(node)
              return node.id
            }""",
            kind,
        )

    def widgets(self) -> dict[str, dict[str, Any]]:
        """Return node id -> widget -> value, of the widgets that a workflow saves."""
        return self.page.evaluate(
            """() => Object.fromEntries(app.graph._nodes.map((node) => [
              node.id,
              Object.fromEntries((node.widgets ?? [])
                .filter((widget) => widget.serialize !== false)
                .map((widget) => [widget.name, widget.value])),
            ]))"""
        )

    def set_widget(self, node: int, name: str, value: Any) -> None:
        """Set a widget's value, as typing does."""
        self.page.evaluate(
            """([id, name, value]) => {
              const node = app.graph.getNodeById(id)
              const widget = node.widgets.find((widget) => widget.name === name)
              widget.value = value
              widget.callback?.(value, app.canvas, node)
            }""",
            [node, name, value],
        )

    def saved(self) -> dict[str, Any]:
        """Return the workflow as the editor saves it."""
        return self.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")

    def area(self, node: int) -> dict[str, float]:
        """Return a node's place in the page, below its title."""
        box = self.page.evaluate(
            "(id) => { const n = app.graph.getNodeById(id); return [...n.pos, ...n.size] }", node
        )
        return self.page.evaluate(_IN_PAGE, box)

    def tooltip(self, node: int, widget: str) -> str:
        """Move the mouse onto a widget, wait for the tooltip, and return its text."""
        shown = self.page.locator(".node-tooltip")
        for k in range(10):  # a page that has just been loaded does not react yet
            rectangle = self.page.evaluate(
                """([id, name]) => {
                  const node = app.graph.getNodeById(id)
                  const widget = node.widgets.find((widget) => widget.name === name)
                  return [node.pos[0], node.pos[1] + widget.y, node.size[0], 20]
                }""",
                [node, widget],
            )
            box = self.page.evaluate(_IN_PAGE, rectangle)
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            self.page.mouse.move(x - 3 - k, y)
            self.page.mouse.move(x, y)
            with contextlib.suppress(TimeoutError):
                shown.wait_for(timeout=1500)
                break
        return shown.inner_text().strip()

    def open_help(self, node: int) -> Locator:
        """Select a node, press the info button over it, and return the panel with its help."""
        self.page.evaluate("() => { window.seenByTests.selected = -1000 }")
        self.page.wait_for_function(_SELECTED, arg=node)
        self.page.get_by_test_id("info-button").click()
        return self.page.locator(".node-help-content")

    def drop(self, path: Path, kind: str) -> None:
        """Drop a file of this MIME type onto the canvas."""
        content = base64.b64encode(path.read_bytes()).decode()
        self.page.evaluate(_DROP, [content, path.name, kind])

    def shot(self, name: str, clip: Mapping[str, float] | None = None) -> np.ndarray:
        """Keep a picture of the page, or of a part of it, and return it: (H, W, 3), 0..255."""
        suffix = f"@{self._density}x" if self._density > 1 else ""
        path = self._screenshots / f"{name}{suffix}.png"
        self.page.screenshot(path=path, clip=clip)  # type: ignore[arg-type]
        return np.asarray(Image.open(path).convert("RGB"))

    def shot_of(self, image: Locator, name: str) -> np.ndarray:
        """Wait until an image of the page has loaded, and keep and return a picture of it."""
        image.wait_for()
        handle = image.element_handle()
        self.page.wait_for_function("(image) => image.complete && image.naturalWidth", arg=handle)
        self.settle()
        return self.shot(name, image.bounding_box())  # type: ignore[arg-type]

    def _complain(self, text: str) -> None:
        if "unconditional" in text.lower():
            self._complaints.append(text)

    def _on_console(self, message: ConsoleMessage) -> None:
        # Failed requests are reported by the response instead, with its status; and the editor asks
        # its registry about every pack, which the host forbids.
        if message.text.startswith(("Failed to load resource", "Connecting to 'https://api.comfy")):
            return
        where = message.location.get("url", "")
        if message.type == "error" or EXTENSION in where:
            self._complain(f"{message.type}: {message.text} ({where})")

    def _on_response(self, answer: Response) -> None:
        if answer.status >= 400 and not any(re.search(u, answer.url) for u in _MAY_BE_ABSENT):
            self._complain(f"{answer.status} {answer.url}")


def _refuse(route: Route) -> None:
    """Nothing outside the host is requested."""
    route.abort()
