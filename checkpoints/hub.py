"""A model from the Hugging Face hub: only the files it needs, each verified before it is used.

``huggingface_hub``, which is among ComfyUI's own requirements, finds the repository and sends the
user's token if there is one. It is imported on first use.
"""

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..networks.errors import CheckpointError, shown
from ..schedulers.errors import UserError
from .files import (
    CONFIG,
    MODEL_INDEX,
    OPTIMISED_TIMESTEPS,
    SCHEDULER_CONFIG,
    find_files,
    read_json,
)
from .hub_transfer import DamagedError, RemoteFile, StoppedError, fetch, locked

logger = logging.getLogger(__name__)

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REPO_ID = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(rf"{_PART}(?:/{_PART})*")
_VARIANT = re.compile(r"[A-Za-z0-9_]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST = 96

_RECORD = "download.json"
_WEIGHTS = "diffusion_pytorch_model"
_SMALL = 32 * 2**20  # more than any configuration

Progress = Callable[[int, int], None]
"""(bytes present, bytes in total); an exception ends the download, which can be resumed later."""


class DownloadError(UserError):
    """A model cannot be downloaded; the message says why and what to do."""


@dataclass(frozen=True)
class HubModel:
    """A model on the hub.

    Raises:
        DownloadError: a name is not valid on the hub.
    """

    repo_id: str
    revision: str = "main"
    variant: str = ""

    def __post_init__(self) -> None:
        for what, value, pattern, example in (
            ("repo_id", self.repo_id, _REPO_ID, "'google/ddpm-cifar10-32'"),
            ("revision", self.revision, _REVISION, "'main', a tag or a commit"),
            ("variant", self.variant, _VARIANT, "empty, or for example 'fp16'"),
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
        """The model's folder: ``owner--name``, with the revision and variant if they are given."""
        name = self.repo_id.replace("/", "--")
        if self.revision != "main":
            name += f"@{self.revision.replace('/', '--')}"
        return f"{name}+{self.variant}" if self.variant else name

    @property
    def record(self) -> dict[str, str]:
        """The entries of ``download.json`` that identify the model."""
        return {"repo_id": self.repo_id, "revision": self.revision, "variant": self.variant}


def is_complete(folder: Path, model: HubModel) -> bool:
    """Whether ``folder`` contains the model: downloaded here, or put there by hand.

    Every file of a downloaded model must be present; it may have been edited since.

    Raises:
        DownloadError: it contains another model.
        OSError: it cannot be read.
    """
    record = _read_record(folder, model)
    if record is not None:
        return all(_is_there(folder / name) for name in record["files"])
    try:
        return _is_there(find_files(folder).weights)
    except CheckpointError:
        return False


def download(root: Path, model: HubModel, progress: Progress = lambda done, total: None) -> Path:
    """Return the model's folder below ``root``, after downloading what is missing.

    If the model is complete, no request is made. An existing file is never replaced. Files are
    collected in a hidden folder next to it, from which an interrupted download continues. They are
    moved when all are present and match the hub's sha256 (or git's hash, for small files). If
    another process is downloading the same model, this waits for it.

    Raises:
        DownloadError: the hub cannot be reached, the repository or a file is missing, the user has
            no access, there is no space, or a file does not match what the hub announced.
    """
    folder = root / model.folder_name
    try:
        if not is_complete(folder, model):
            _complete(folder, model, progress)
        _warn_of_edits(folder, model)
    except OSError as error:
        raise DownloadError(
            f"{model.repo_id} cannot be stored in {folder}: {error.strerror or error}. Free some "
            "space, or allow reading and writing there."
        ) from error
    return folder


def _complete(folder: Path, model: HubModel, progress: Progress) -> None:
    by_hand = _by_hand(model, folder)
    hub = _import_hub(by_hand)
    # Missing files must come from the same commit as the existing ones, even if the branch moved.
    commit = (_read_record(folder, model) or {}).get("commit")
    with _hub_errors(hub, model, by_hand, commit):
        info = hub.HfApi().model_info(
            model.repo_id, revision=commit or model.revision, files_metadata=True, timeout=30
        )
    if not _COMMIT.fullmatch(str(info.sha)):
        raise DownloadError(f"The hub returned no commit for {model.repo_id}. {by_hand}")
    files = _needed(model, info.siblings or [], by_hand)
    missing = [file for file in files if not _is_there(folder / file.local_name)]
    total = sum(file.size for file in missing)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    with locked(unfinished, lambda: progress(0, total)):
        if not is_complete(folder, model):  # another process may have completed it
            done = 0
            for file in missing:
                with _hub_errors(hub, model, by_hand):
                    url = hub.hf_hub_url(model.repo_id, file.name, revision=info.sha)
                    fetch(
                        url,
                        file,
                        unfinished,
                        lambda size, before=done: progress(before + size, total),
                    )
                done += file.size
                progress(done, total)
            record = {**model.record, "commit": info.sha}
            record["files"] = {file.local_name: file.size for file in files}
            _put_in_place(unfinished, folder, model, missing, record)
    shutil.rmtree(unfinished, ignore_errors=True)


def _put_in_place(
    unfinished: Path,
    folder: Path,
    model: HubModel,
    files: Sequence[RemoteFile],
    record: dict[str, Any],
) -> None:
    # The record comes first: after a crash the rest is completed from the same commit.
    present = _read_record(folder, model)
    if present is not None and present["commit"] not in (None, record["commit"]):
        raise DownloadError(f"{folder} changed during the download. Run this again.")
    folder.mkdir(parents=True, exist_ok=True)
    if present is None:
        written = unfinished / _RECORD
        written.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(written, folder / _RECORD)
    # The network's configuration comes last: it is what makes the folder a model.
    for file in sorted(files, key=lambda file: Path(file.local_name).name == CONFIG):
        target = folder / file.local_name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _is_there(target):
            os.replace(unfinished / file.part_name, target)


def _read_record(folder: Path, model: HubModel) -> dict[str, Any] | None:
    """Return the contents of ``download.json``; None if it is missing or damaged."""
    path = folder / _RECORD
    try:
        record = read_json(path)
    except CheckpointError:
        return None
    recorded = {name: record.get(name) for name in model.record}
    if recorded != model.record:
        raise DownloadError(
            f"{folder} contains another model: its {_RECORD} says {shown(str(recorded))}, not "
            f"{model.record}. Move or rename that folder, then run this again."
        )
    if not _COMMIT.fullmatch(str(record.get("commit"))):
        record["commit"] = None
    sizes = record.get("files")
    return record if isinstance(sizes, dict) and sizes else None


def _is_there(path: Path) -> bool:
    """Whether a file exists and is not empty; weights may also be of the other file type."""
    kinds = (".safetensors", ".bin") if path.stem == _WEIGHTS else (path.suffix,)
    places = [path.with_suffix(kind) for kind in kinds]
    return any(place.is_file() and place.stat().st_size > 0 for place in places)


def _warn_of_edits(folder: Path, model: HubModel) -> None:
    for name, size in ((_read_record(folder, model) or {}).get("files") or {}).items():
        path = folder / name
        if path.is_file() and path.stat().st_size != size:
            logger.warning(
                "%s differs from the downloaded file (%s bytes instead of %s) and is used as is. "
                "To download the hub's file again, move yours away and run this again.",
                path,
                path.stat().st_size,
                size,
            )


def _needed(model: HubModel, listed: Sequence[Any], by_hand: str) -> list[RemoteFile]:
    """Choose the few files that are needed from those of the repository."""
    siblings = {file.rfilename: file for file in listed}
    network = "unet/" if "unet/config.json" in siblings else ""
    scheduler = "scheduler/" if network else ""
    if f"{network}config.json" not in siblings:
        raise DownloadError(
            f"{model.repo_id} has no config.json at its root or in unet/, so it is not an "
            "unconditional diffusion model saved by diffusers. Check repo_id."
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
            f"{model.repo_id} has no {names} at revision {model.revision}. Try another variant or "
            f"revision. {by_hand}"
        )
    schedule = (f"{scheduler}{name}" for name in (SCHEDULER_CONFIG, OPTIMISED_TIMESTEPS))
    optional = [MODEL_INDEX, *schedule]
    wanted = [(f"{network}config.json",) * 2, *((name, name) for name in optional), weights]
    return [
        _remote_file(siblings[name], local_name, model)
        for name, local_name in wanted
        if name in siblings
    ]


def _remote_file(sibling: Any, local_name: str, model: HubModel) -> RemoteFile:
    lfs = sibling.lfs or {}
    algorithm, digest = ("sha256", lfs.get("sha256")) if lfs else ("sha1", sibling.blob_id)
    length = {"sha256": 64, "sha1": 40}[algorithm]
    size = sibling.size
    if not isinstance(size, int) or not re.fullmatch(rf"[0-9a-f]{{{length}}}", str(digest)):
        raise DownloadError(
            f"The hub did not return the size and hash of {sibling.rfilename} in {model.repo_id}, "
            "so the file could not be verified. Use the hub itself instead of a mirror."
        )
    if local_name.endswith(".json") and size > _SMALL:
        raise DownloadError(
            f"{sibling.rfilename} in {model.repo_id} is too large for a configuration ({size} "
            "bytes)."
        )
    return RemoteFile(sibling.rfilename, local_name, size, algorithm, str(digest))


def _by_hand(model: HubModel, folder: Path) -> str:
    name = f"{_WEIGHTS}.{model.variant}" if model.variant else _WEIGHTS
    rename = f", renamed to {_WEIGHTS}.safetensors or .bin," if model.variant else ""
    return (
        f"To download by hand: open the page of {model.repo_id} on the Hugging Face hub and put "
        f"its config.json, {name}.safetensors (or .bin){rename} and scheduler_config.json into "
        f"{folder}. If they are in unet/ and scheduler/, keep these two folders. Then run this "
        "again."
    )


def _import_hub(by_hand: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise DownloadError(
            "Downloading needs the Python package huggingface_hub, which is not installed. "
            f"Install it in ComfyUI's Python environment. {by_hand}"
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def _hub_errors(
    hub: Any, model: HubModel, by_hand: str, commit: str | None = None
) -> Iterator[None]:
    """Turn the library's errors into ``DownloadError``, with messages that contain no URLs."""
    from huggingface_hub import utils

    log_in = (
        f"Log in with 'hf auth login' in ComfyUI's Python environment, or set HF_TOKEN before "
        f"ComfyUI starts. Never put a token into a workflow. {by_hand}"
    )
    repo = model.repo_id
    try:
        yield
    except StoppedError as stopped:
        raise stopped.reason from None
    except DamagedError as damaged:
        raise DownloadError(
            f"{damaged.file.name} in {repo} was damaged in the download: its "
            f"{damaged.file.algorithm} is not the one that the hub announced. It was deleted. Try "
            "again."
        ) from None
    except utils.GatedRepoError:
        raise DownloadError(
            f"{repo} is gated: you must first accept its conditions on its page on the hub. Then: "
            f"{log_in}"
        ) from None
    except utils.RevisionNotFoundError:
        if commit:
            raise DownloadError(
                f"{repo} no longer has the commit {commit}, from which the existing files come. "
                "Move their folder away to download the model again."
            ) from None
        raise DownloadError(f"{repo} has no revision '{model.revision}'. Try 'main'.") from None
    except utils.RepositoryNotFoundError:
        raise DownloadError(
            f"{repo} does not exist on the hub, or it is private. Check the spelling. If it is "
            f"private: {log_in}"
        ) from None
    except utils.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        if status in (401, 403):
            raise DownloadError(f"The hub denied you access to {repo}. {log_in}") from None
        raise DownloadError(
            f"The hub returned {status} for {repo}. Try again later. {by_hand}"
        ) from None
    except Exception as error:  # the library's HTTP client and its errors depend on its version
        if isinstance(error, OSError) and "Consistency check failed" in str(error):
            raise DownloadError(
                f"A file in {repo} was not downloaded completely. Run this again to continue the "
                "download."
            ) from None
        raise DownloadError(
            f"{repo} could not be downloaded ({type(error).__name__}). Check the connection to the "
            f"Hugging Face hub and try again; the download continues where it stopped. {by_hand}"
        ) from None
