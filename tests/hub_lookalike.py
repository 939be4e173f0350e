"""A small Hugging Face hub on this machine: listings, files in ranges, and failures."""

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "secret" * 6
"""What a user would be logged in with; it must show up nowhere."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repo:
    """A repository: its files, and the status and code with which the hub rejects requests."""

    files: dict[str, bytes]
    revisions: tuple[str, ...] = ("main", COMMIT)
    refusal: tuple[int, str] | None = None
    refuse_files_only: bool = False
    """A gated repository is listed for everybody."""

    def siblings(self) -> list[dict[str, Any]]:
        return [_sibling(name, content) for name, content in self.files.items()]


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob}
    if name.endswith((".safetensors", ".bin")):
        sha256 = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
    return entry


@dataclass
class Request:
    """A request that was made."""

    path: str
    range: str | None
    authorization: str | None


@dataclass
class Hub:
    """The server, for a ``with`` block."""

    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    on_the_way: Callable[[str, bytes], bytes] = lambda name, content: content
    """Changes what is sent of a file."""
    cuts: int = 0
    """How many of the next answers end in their middle."""
    delay: Callable[[], object] = lambda: None
    """Called before each piece of a file."""

    def __enter__(self) -> "Hub":
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def reset(self) -> None:
        """Forget the requests and the planned failures; the repositories stay."""
        self.requests.clear()
        self.on_the_way = lambda name, content: content
        self.delay = lambda: None
        self.cuts = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/") and not path.startswith("/api/models/"):
            # Requests of the library itself, which do not matter here.
            return self._refuse(404, "", "Not found")
        asked = self.headers.get("Range")
        self.hub.requests.append(Request(path, asked, self.headers.get("Authorization")))
        parts = path.strip("/").split("/")
        is_listing = parts[:2] == ["api", "models"]
        owner_and_name = "/".join(parts[2:4] if is_listing else parts[:2])
        repo = self.hub.repos.get(owner_and_name)
        if repo is None:
            # The answer of the real hub if you are not logged in.
            return self._refuse(401, "RepoNotFound", "Repository not found")
        if repo.refusal and not (is_listing and repo.refuse_files_only):
            return self._refuse(*repo.refusal, "You may not have this")
        if is_listing:
            revision = "/".join(parts[5:])
            if revision not in repo.revisions:
                return self._refuse(404, "RevisionNotFound", "Invalid rev id")
            sha = revision if len(revision) == len(COMMIT) else COMMIT
            listing = {"id": owner_and_name, "sha": sha, "siblings": repo.siblings()}
            return self._send(200, json.dumps({**listing, "modelId": owner_and_name}).encode())
        name = "/".join(parts[4:])
        if name not in repo.files:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        return self._send_file(name, repo.files[name], asked)

    def _send_file(self, name: str, content: bytes, asked: str | None) -> None:
        content = self.hub.on_the_way(name, content)
        total, start = len(content), 0
        if asked:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= total:
                return self._refuse(416, "", "Range not satisfiable")
        more = {"Content-Range": f"bytes {start}-{total - 1}/{total}"} if asked else {}
        return self._send(206 if asked else 200, content[start:], more)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.hub.cuts and status in (200, 206) and len(body) > 10_000:
            self.hub.cuts -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        for begin in range(0, len(body), 2**20):
            self.hub.delay()
            self.wfile.write(body[begin : begin + 2**20])
