"""What a training node shows in the editor, before, during and after a run."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
from aiohttp import web
from server import PromptServer

from ..training.copying import Copying
from ..training.progress import Progress
from .page import Ui, for_page

NAME = "unconditional_training"
"""The name of the event, and of the result in the node's output."""

_POINTS = 400
_SECONDS = 0.5

_last: dict[str, dict[str, Any]] = {}
"""The last report of each node, for a page that is loaded during a run."""


@dataclass
class Report:
    """The state of a run, as the editor shows it; its sheets are data URLs."""

    name: str = ""
    state: str = "reading"
    parameters: int | None = None
    size: tuple[int, int] | None = None
    channels: int | None = None
    memory: int | None = None
    pictures: int | None = None
    first_step: int = 0
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    seconds_per_step: float | None = None
    losses: list[tuple[float, float]] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    grid: dict[str, Any] | None = None

    def begin(self, name: str, step: int, steps: int) -> None:
        """Note that the run starts, or continues after ``step``."""
        self.name, self.state = name, "training"
        self.first_step, self.step, self.steps = step, step, steps

    def update(self, progress: Progress, seconds_left: float | None, per_step: list[float]) -> None:
        """Note the progress of the run."""
        self.step, self.seconds_left = progress.step, seconds_left
        self.seconds_per_step = statistics.median(per_step[-100:]) if per_step else None
        self.losses = thinned(progress.losses)
        self.saved = list(progress.saved)

    def show_grid(
        self, step: int, averaged: str, current: str, nearest: str, copying: Copying
    ) -> None:
        """Show a preview."""
        self.grid = {
            **{"step": step, "averaged": averaged, "current": current, "nearest": nearest},
            **{"ratio": copying.ratio, "copies": copying.copies, "samples": copying.samples},
            "copying": copying.is_copying,
        }


class Reporter:
    """Sends a node's report to the editor.

    Args:
        node: its id in the execution.
    """

    def __init__(self, node: str):
        self._node, self._sent, self._grid = node, 0.0, None
        self.report = Report()

    @property
    def is_due(self) -> bool:
        """Whether the last report was sent half a second ago, or earlier."""
        return time.monotonic() - self._sent >= _SECONDS

    def send(self) -> None:
        """Send the report."""
        self._sent = time.monotonic()
        report = vars(self.report)
        _last[self._node] = dict(report)
        # The pictures only if they are new: they are much larger than the rest.
        grid = None if self.report.grid is self._grid else self.report.grid
        self._grid = self.report.grid
        content = {"node": self._node, "report": {**report, "grid": grid}}
        PromptServer.instance.send_sync(NAME, content)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Report how the context ends: with an error, which the host shows, or with Cancel."""
        self.send()
        try:
            yield
        except comfy.model_management.InterruptProcessingException:
            self.report.state = "stopped"
            self.send()
            raise
        except Exception:
            self.report.state = "failed"
            self.send()
            raise

    def ui(self) -> Ui:
        """Return the last report as the node's result."""
        return for_page(NAME, vars(self.report))


def thinned(losses: list[float]) -> list[tuple[float, float]]:
    """Return at most 400 points (step, mean loss), one for each block of equally many steps."""
    block = -(-len(losses) // _POINTS) or 1
    parts = (losses[k : k + block] for k in range(0, len(losses), block))
    return [
        (k * block + (len(part) + 1) / 2, sum(part) / len(part)) for k, part in enumerate(parts)
    ]


def serve(plan: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer the editor's questions about training nodes.

    Args:
        plan: returns what would be trained, for the values of a node's widgets; called in a thread.
    """
    server = getattr(PromptServer, "instance", None)
    if server is None:  # the nodes are imported without a server
        return

    @server.routes.get("/unconditional/training")
    async def last_report(request: web.Request) -> web.Response:
        return web.json_response(_last.get(request.query.get("node", ""), {}))

    @server.routes.post("/unconditional/training/plan")
    async def planned(request: web.Request) -> web.Response:
        values = await request.json()
        return web.json_response(await asyncio.to_thread(plan, values))
