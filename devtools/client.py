"""A client for ComfyUI, like its editor: prompts over HTTP, progress over a websocket."""

import json
import struct
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import websocket

Graph = dict[str, dict[str, Any]]
"""A prompt in the API format: node id -> class_type and inputs."""

_PREVIEW_IMAGE, _PREVIEW_IMAGE_WITH_METADATA = 1, 4


@dataclass
class Run:
    """The results of a prompt."""

    prompt_id: str = ""
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Node id -> what the node displays."""
    progress: list[tuple[int, int]] = field(default_factory=list)
    """(value, maximum) in the order of arrival."""
    previews: list[bytes] = field(default_factory=list)
    """Encoded preview images."""
    error: dict[str, Any] | None = None
    """What the editor displays on the node that failed."""
    interrupted: bool = False
    executed: list[str] = field(default_factory=list)
    """Nodes that ran, as opposed to cached ones."""


class RefusedError(Exception):
    """The host rejected the prompt; ``errors`` has those of each node."""

    def __init__(self, answer: dict[str, Any]):
        super().__init__(json.dumps(answer))
        self.errors: dict[str, Any] = answer.get("node_errors") or {}


class Client:
    """One connection to a host at ``url``."""

    def __init__(self, url: str):
        self.url = url
        self._id = uuid.uuid4().hex
        self._socket = websocket.create_connection(
            f"{url.replace('http', 'ws', 1)}/ws?clientId={self._id}", timeout=300
        )

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def get(self, path: str) -> Any:
        """Return the JSON at a path of the host."""
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            return json.load(response)

    def post(self, path: str, content: Any) -> Any:
        """Post JSON to a path of the host and return its response, None if it is empty."""
        request = urllib.request.Request(
            self.url + path,
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            body = response.read()
        return json.loads(body) if body.strip() else None

    def run(
        self, graph: Graph, on_progress: Callable[[int, int], object] = lambda value, maximum: None
    ) -> Run:
        """Queue a prompt and return when it has finished, successfully or not.

        Raises:
            RefusedError: the prompt is invalid, or a part of it, which the host then does not run.
        """
        extra = {"extra_pnginfo": {"workflow": {"nodes": []}}}
        content = {"prompt": graph, "client_id": self._id, "extra_data": extra}
        try:
            answer = self.post("/prompt", content)
        except urllib.error.HTTPError as error:
            raise RefusedError(json.load(error)) from error
        run = Run(answer["prompt_id"])
        while self._receive(run, on_progress):
            pass
        if answer.get("node_errors"):
            raise RefusedError(answer)
        history = self.get(f"/history/{run.prompt_id}").get(run.prompt_id, {})
        run.outputs = history.get("outputs", {})
        return run

    def _receive(self, run: Run, on_progress: Callable[[int, int], object]) -> bool:
        """Handle one message; return whether the prompt is still running."""
        message = self._socket.recv()
        if isinstance(message, bytes):
            event, kind = struct.unpack(">II", message[:8])
            if event == _PREVIEW_IMAGE:
                run.previews.append(message[8:])
            elif event == _PREVIEW_IMAGE_WITH_METADATA:
                run.previews.append(message[8 + kind :])
            return True
        event = json.loads(message)
        data = event.get("data", {})
        if data.get("prompt_id") not in (run.prompt_id, None):
            return True
        match event["type"]:
            case "progress":
                run.progress.append((data["value"], data["max"]))
                on_progress(data["value"], data["max"])
            case "executing" if data.get("node") is None and data.get("prompt_id"):
                return False
            case "executing" if data.get("node"):
                run.executed.append(data["node"])
            case "execution_error":
                run.error = data
                return False
            case "execution_interrupted":
                run.interrupted = True
                return False
        return True
