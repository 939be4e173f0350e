"""A model from the Hugging Face hub: only the files it needs, each checked before it counts.

``huggingface_hub``, which ComfyUI's own requirements bring, finds the repository and sends the
user's token where there is one; it is imported when it is needed.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..schedulers.errors import UserError
from .errors import CheckpointError
from .files import find_files, read_json

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REPO_ID = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(rf"{_PART}(?:/{_PART})*")
_VARIANT = re.compile(r"[A-Za-z0-9_]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST = 96

_RECORD = "download.json"
_WEIGHTS = "diffusion_pytorch_model"
_CHUNK = 2**20
_SMALL = 32 * 2**20  # more than any configuration

Progress = Callable[[int, int], None]
"""(bytes that are there, bytes in all); what it raises ends the download, which can go on later."""


class DownloadError(UserError):
    """A model cannot be downloaded; the message says why and what to do."""


@dataclass(frozen=True)
class HubModel:
    """A model on the hub.

    Raises:
        DownloadError: a name is none that the hub has.
    """

    repo_id: str
    revision: str = "main"
    variant: str = ""

    def __post_init__(self) -> None:
        for what, value, pattern, example in (
            ("repo_id", self.repo_id, _REPO_ID, "'google/ddpm-cifar10-32'"),
            ("revision", self.revision, _REVISION, "'main', a tag or a commit"),
            ("variant", self.variant, _VARIANT, "empty, or such as 'fp16'"),
        ):
            if (
                not pattern.fullmatch(value)
                or len(value) > _LONGEST
                or ".." in value
                or (what == "repo_id" and "--" in value)
            ):
                raise DownloadError(f"{what} must be {example}, not {value!r:.100}.")

    @property
    def folder_name(self) -> str:
        """The model's folder: ``owner--name``, and what tells a revision or variant apart."""
        name = self.repo_id.replace("/", "--")
        if self.revision != "main":
            name += f"@{self.revision.replace('/', '--')}"
        return f"{name}+{self.variant}" if self.variant else name

    @property
    def record(self) -> dict[str, str]:
        """What ``download.json`` says was asked for."""
        return {"repo_id": self.repo_id, "revision": self.revision, "variant": self.variant}


@dataclass(frozen=True)
class _RemoteFile:
    """One file: its path in the repository and here, its size, and the hash it must have."""

    name: str
    local_name: str
    size: int
    algorithm: str
    digest: str

    @property
    def part_name(self) -> str:
        """What it is called before it is whole; never that of another version of the file."""
        return f"{self.local_name.replace('/', '--')}.{self.digest}.part"


def is_complete(folder: Path, model: HubModel) -> bool:
    """Whether ``folder`` holds the model: downloaded here, or put there by hand."""
    if not (folder / _RECORD).exists():
        with contextlib.suppress(CheckpointError):
            find_files(folder)
            return True
        return False
    with contextlib.suppress(CheckpointError, OSError):
        record = read_json(folder / _RECORD)
        sizes = record.pop("files", None)
        record.pop("commit", None)
        return (
            record == model.record
            and isinstance(sizes, dict)
            and len(sizes) > 0
            and all((folder / name).stat().st_size == size for name, size in sizes.items())
        )
    return False


def download(root: Path, model: HubModel, progress: Progress = lambda done, total: None) -> Path:
    """Return the model's folder below ``root``, after downloading what is missing.

    No request is made where the model is there. Files are collected in a hidden folder beside it,
    from which an interrupted download goes on, and get their names when all are there and have
    the hub's own sha256 (or, of small files, git's hash).

    Raises:
        DownloadError: the hub, the repository, a file in it or space is missing, the user may not
            have it, or what came is not what the hub announced.
    """
    folder = root / model.folder_name
    if is_complete(folder, model):
        return folder
    by_hand = _by_hand(model, folder)
    hub = _import_hub(by_hand)
    with _hub_errors(hub, model, by_hand):
        info = hub.HfApi().model_info(
            model.repo_id, revision=model.revision, files_metadata=True, timeout=30
        )
    if not _COMMIT.fullmatch(str(info.sha)):
        raise DownloadError(f"The hub's answer on {model.repo_id} names no commit. {by_hand}")
    files = _needed(model, info.siblings or [], by_hand)
    total = sum(file.size for file in files)
    unfinished = root / f".{model.folder_name}.unfinished"
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        done = 0
        for file in files:
            part = unfinished / file.part_name
            if not (part.exists() and part.stat().st_size == file.size):
                free = shutil.disk_usage(unfinished).free
                if free < file.size - (part.stat().st_size if part.exists() else 0):
                    raise OSError(28, f"only {free // 2**20} MB are free")
                url = hub.hf_hub_url(model.repo_id, file.name, revision=info.sha)
                with part.open("ab") as stream, _hub_errors(hub, model, by_hand):
                    before = done
                    sink = _Sink(stream, lambda size, before=before: progress(before + size, total))
                    _fetch(hub, url, sink, file)
            _verify(part, file, model)
            done += file.size
            progress(done, total)
        _put_in_place(unfinished, folder, files, {**model.record, "commit": info.sha})
    except OSError as error:
        raise DownloadError(
            f"{model.repo_id} cannot be stored in {folder}: {error.strerror or error}. Free some "
            "space, or allow writing there."
        ) from error
    return folder


class _Sink:
    """The file that a download is written to, as the hub's library sees it."""

    def __init__(self, stream: BinaryIO, progress: Callable[[int], None]):
        self._stream, self._progress = stream, progress

    def write(self, chunk: bytes) -> int:
        try:
            # Small pieces, so that a cancel is heard.
            for start in range(0, len(chunk), _CHUNK):
                self._progress(self._stream.tell())
                self._stream.write(chunk[start : start + _CHUNK])
            self._progress(self._stream.tell())
        except Exception as error:
            # Else the library would take a full disk or a cancel for an error of the hub.
            raise _StoppedError(error) from error
        return len(chunk)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        return self._stream.seek(position, whence)

    def truncate(self, size: int | None = None) -> int:
        return self._stream.truncate(size)


class _StoppedError(Exception):
    """Writing, or ``progress``, raised ``reason``."""

    def __init__(self, reason: Exception):
        super().__init__(str(reason))
        self.reason = reason


def _fetch(hub: Any, url: str, sink: _Sink, file: _RemoteFile) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    sink.seek(0, os.SEEK_END)
    if sink.tell() > file.size:
        sink.truncate(0)
    http_get(
        url,
        sink,  # type: ignore[arg-type]
        resume_size=sink.tell(),
        headers=build_hf_headers(),
        expected_size=file.size,
        displayed_filename=file.local_name,
    )


def _verify(part: Path, file: _RemoteFile, model: HubModel) -> None:
    """Raise ``DownloadError``, and delete the file, unless it is what the hub announced."""
    digest = hashlib.new(file.algorithm)
    if file.algorithm == "sha1":  # git's hash of a file begins with this
        digest.update(f"blob {file.size}\0".encode())
    with part.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    if part.stat().st_size != file.size or digest.hexdigest() != file.digest:
        part.unlink()
        raise DownloadError(
            f"{file.name} of {model.repo_id} arrived damaged: its {file.algorithm} is not the one "
            "that the hub announces. It was deleted; try again."
        )


def _put_in_place(
    unfinished: Path, folder: Path, files: Sequence[_RemoteFile], record: dict[str, Any]
) -> None:
    # The network's configuration last: only with it is the folder a model.
    for file in sorted(files, key=lambda file: file.local_name.endswith("/config.json")):
        target = folder / file.local_name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished / file.part_name, target)
    sizes = {file.local_name: file.size for file in files}
    written = unfinished / _RECORD
    written.write_text(json.dumps({**record, "files": sizes}, indent=2) + "\n", encoding="utf-8")
    os.replace(written, folder / _RECORD)
    shutil.rmtree(unfinished, ignore_errors=True)


def _needed(model: HubModel, listed: Sequence[Any], by_hand: str) -> list[_RemoteFile]:
    """Choose from the repository's files; a name counts only where it is one of these few."""
    siblings = {file.rfilename: file for file in listed}
    network = "unet/" if "unet/config.json" in siblings else ""
    scheduler = "scheduler/" if network else ""
    if f"{network}config.json" not in siblings:
        raise DownloadError(
            f"{model.repo_id} has no config.json at its root and none in unet/, so it is no "
            "unconditional diffusion model that diffusers wrote."
        )
    variant = f".{model.variant}" if model.variant else ""
    offered = [
        (f"{network}{_WEIGHTS}{variant}.{suffix}", f"{network}{_WEIGHTS}.{suffix}")
        for suffix in ("safetensors", "bin")
    ]
    weights = next((pair for pair in offered if pair[0] in siblings), None)
    if weights is None:
        names = " and no ".join(name for name, _ in offered)
        raise DownloadError(
            f"{model.repo_id} has no {names} at the revision {model.revision}. Try another "
            f"variant or revision. {by_hand}"
        )
    optional = ["model_index.json", f"{scheduler}scheduler_config.json"]
    wanted = [(f"{network}config.json",) * 2, *((name, name) for name in optional), weights]
    return [
        _remote_file(siblings[name], local_name, model)
        for name, local_name in wanted
        if name in siblings
    ]


def _remote_file(sibling: Any, local_name: str, model: HubModel) -> _RemoteFile:
    lfs = sibling.lfs or {}
    algorithm, digest = ("sha256", lfs.get("sha256")) if lfs else ("sha1", sibling.blob_id)
    length = {"sha256": 64, "sha1": 40}[algorithm]
    size = sibling.size
    if not isinstance(size, int) or not re.fullmatch(rf"[0-9a-f]{{{length}}}", str(digest)):
        raise DownloadError(
            f"The hub does not say the size and hash of {sibling.rfilename} of {model.repo_id}, so "
            "it could not be checked. Use the hub itself instead of a mirror."
        )
    if local_name.endswith(".json") and size > _SMALL:
        raise DownloadError(f"{sibling.rfilename} of {model.repo_id} is far too large.")
    return _RemoteFile(sibling.rfilename, local_name, size, algorithm, str(digest))


def _by_hand(model: HubModel, folder: Path) -> str:
    name = f"{_WEIGHTS}.{model.variant}" if model.variant else _WEIGHTS
    rename = f", renamed to {_WEIGHTS}.safetensors or .bin," if model.variant else ""
    return (
        f"By hand: open the page of {model.repo_id} on the Hugging Face hub, and put its "
        f"config.json, {name}.safetensors (or .bin){rename} and scheduler_config.json into "
        f"{folder}. Where they are in unet/ and scheduler/, keep these two folders. Then run this "
        "again; it will use them."
    )


def _import_hub(by_hand: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise DownloadError(
            "Downloading needs the Python package huggingface_hub, which is not installed. "
            f"Install it in ComfyUI's Python, or download the model yourself. {by_hand}"
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def _hub_errors(hub: Any, model: HubModel, by_hand: str) -> Iterator[None]:
    """Say in words what went wrong. The library's own messages name addresses, ours do not."""
    from huggingface_hub import utils

    may_not = (
        f"Log in with 'hf auth login' in ComfyUI's Python, or set HF_TOKEN before ComfyUI starts. "
        f"Never put a token into a workflow. {by_hand}"
    )
    repo = model.repo_id
    try:
        yield
    except _StoppedError as stopped:
        raise stopped.reason from None
    except utils.GatedRepoError:
        raise DownloadError(
            f"{repo} is gated: its owner wants you to accept conditions on its page on the hub "
            f"first. Then: {may_not}"
        ) from None
    except utils.RevisionNotFoundError:
        raise DownloadError(f"{repo} has no revision '{model.revision}'. Try 'main'.") from None
    except utils.RepositoryNotFoundError:
        raise DownloadError(
            f"There is no {repo} on the hub, or it is private. Check the spelling. If it is "
            f"private: {may_not}"
        ) from None
    except utils.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        if status in (401, 403):
            raise DownloadError(f"The hub does not let you have {repo}. {may_not}") from None
        raise DownloadError(
            f"The hub answered {status} for {repo}. Try again later. {by_hand}"
        ) from None
    except DownloadError:
        raise
    except Exception as error:  # the library has changed what it connects with, and its errors
        if isinstance(error, OSError) and "Consistency check failed" in str(error):
            raise DownloadError(
                f"A file of {repo} did not arrive whole. Run this again; it goes on where it "
                "stopped."
            ) from None
        raise DownloadError(
            f"{repo} could not be downloaded ({type(error).__name__}). Is there a connection to "
            f"the Hugging Face hub? What has arrived is kept. {by_hand}"
        ) from None
