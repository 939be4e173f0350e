"""A model from the Hugging Face hub: only the files it needs, each checked before it counts.

``huggingface_hub``, which ComfyUI's own requirements bring, finds the repository and sends the
user's token where there is one; it is imported when it is needed.
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

from ..schedulers.errors import UserError
from ..unet.errors import CheckpointError, shown
from .files import CONFIG, find_files, read_json
from .hub_transfer import DamagedError, RemoteFile, StoppedError, alone_in, fetch

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


def is_complete(folder: Path, model: HubModel) -> bool:
    """Whether ``folder`` holds the model: downloaded here, or put there by hand.

    Of a downloaded model each file must be there; what is in it may have been edited since.

    Raises:
        DownloadError: it holds another model.
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

    No request is made where the model is there, and no file that is there is replaced. Files are
    collected in a hidden folder beside it, from which an interrupted download goes on, and get
    their names when all are there and have the hub's own sha256 (or, of small files, git's hash).
    Where another process downloads the same model, this waits for it.

    Raises:
        DownloadError: the hub, the repository, a file in it or space is missing, the user may not
            have it, or what came is not what the hub announced.
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
    # What is missing belongs to the commit of what is there, wherever the branch has gone since.
    commit = (_read_record(folder, model) or {}).get("commit")
    with _hub_errors(hub, model, by_hand, commit):
        info = hub.HfApi().model_info(
            model.repo_id, revision=commit or model.revision, files_metadata=True, timeout=30
        )
    if not _COMMIT.fullmatch(str(info.sha)):
        raise DownloadError(f"The hub's answer on {model.repo_id} names no commit. {by_hand}")
    files = _needed(model, info.siblings or [], by_hand)
    missing = [file for file in files if not _is_there(folder / file.local_name)]
    total = sum(file.size for file in missing)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    with alone_in(unfinished, lambda: progress(0, total)):
        if not is_complete(folder, model):  # another process may have been here
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
    # The record first, so that what a crash leaves out is completed from the same commit.
    present = _read_record(folder, model)
    if present is not None and present["commit"] not in (None, record["commit"]):
        raise DownloadError(f"{folder} was changed meanwhile. Run this again.")
    folder.mkdir(parents=True, exist_ok=True)
    if present is None:
        written = unfinished / _RECORD
        written.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(written, folder / _RECORD)
    # The network's configuration last: only with it is the folder a model.
    for file in sorted(files, key=lambda file: Path(file.local_name).name == CONFIG):
        target = folder / file.local_name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _is_there(target):
            os.replace(unfinished / file.part_name, target)


def _read_record(folder: Path, model: HubModel) -> dict[str, Any] | None:
    """Return what ``download.json`` says; None where there is none, or it is damaged."""
    path = folder / _RECORD
    try:
        record = read_json(path)
    except CheckpointError:
        return None
    asked = {name: record.get(name) for name in model.record}
    if asked != model.record:
        raise DownloadError(
            f"{folder} holds another model: its {_RECORD} names {shown(str(asked))}, not "
            f"{model.record}. Move or rename that folder, then run this again."
        )
    if not _COMMIT.fullmatch(str(record.get("commit"))):
        record["commit"] = None
    sizes = record.get("files")
    return record if isinstance(sizes, dict) and sizes else None


def _is_there(path: Path) -> bool:
    """Whether a file is there and not empty; for weights, those of the other kind count too."""
    kinds = (".safetensors", ".bin") if path.stem == _WEIGHTS else (path.suffix,)
    places = [path.with_suffix(kind) for kind in kinds]
    return any(place.is_file() and place.stat().st_size > 0 for place in places)


def _warn_of_edits(folder: Path, model: HubModel) -> None:
    for name, size in ((_read_record(folder, model) or {}).get("files") or {}).items():
        path = folder / name
        if path.is_file() and path.stat().st_size != size:
            logger.warning(
                "%s is not as it was downloaded (%s bytes, not %s) and is used as it is. To have "
                "the hub's file again, move yours away and run this again.",
                path,
                path.stat().st_size,
                size,
            )


def _needed(model: HubModel, listed: Sequence[Any], by_hand: str) -> list[RemoteFile]:
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


def _remote_file(sibling: Any, local_name: str, model: HubModel) -> RemoteFile:
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
    return RemoteFile(sibling.rfilename, local_name, size, algorithm, str(digest))


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
def _hub_errors(
    hub: Any, model: HubModel, by_hand: str, commit: str | None = None
) -> Iterator[None]:
    """Say in words what went wrong. The library's own messages name addresses, ours do not."""
    from huggingface_hub import utils

    may_not = (
        f"Log in with 'hf auth login' in ComfyUI's Python, or set HF_TOKEN before ComfyUI starts. "
        f"Never put a token into a workflow. {by_hand}"
    )
    repo = model.repo_id
    try:
        yield
    except StoppedError as stopped:
        raise stopped.reason from None
    except DamagedError as damaged:
        raise DownloadError(
            f"{damaged.file.name} of {repo} arrived damaged: its {damaged.file.algorithm} is not "
            "the one that the hub announces. It was deleted; try again."
        ) from None
    except utils.GatedRepoError:
        raise DownloadError(
            f"{repo} is gated: its owner wants you to accept conditions on its page on the hub "
            f"first. Then: {may_not}"
        ) from None
    except utils.RevisionNotFoundError:
        if commit:
            raise DownloadError(
                f"{repo} no longer has the commit {commit}, to which the files that are there "
                "belong. Move their folder away to download the model again."
            ) from None
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
