"""Downloads to a folder that is not empty, and next to another process."""

# ruff: noqa: F811 (fixtures of test_hub)

import errno
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.hub import DownloadError, HubModel, download
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from hub_lookalike import COMMIT, Hub
from safetensors.torch import load_file
from test_hub import MODEL, WEIGHTS, hub, repository, root  # noqa: F401
from torch import save
from toys import contents

OLDER = "a" * 40


# Edited files


@pytest.mark.parametrize("name", ["config.json", "scheduler_config.json", WEIGHTS])
@pytest.mark.parametrize("edit", [lambda whole: whole + b"  ", lambda whole: whole[:-7] or b"x"])
def test_an_edited_file_is_used_without_a_request_and_the_log_says_so(
    hub, root, caplog, name, edit
):
    path = download(root, MODEL) / name
    path.write_bytes(edit(path.read_bytes()))
    before = contents(root)
    hub.reset()
    with caplog.at_level(logging.WARNING):
        assert download(root, MODEL) == path.parent
    assert not hub.requests
    assert contents(root) == before
    assert [message for message in caplog.messages if str(path) in message]


@pytest.mark.parametrize("missing", ["config.json", "scheduler_config.json", WEIGHTS])
@pytest.mark.parametrize("how", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_only_what_is_missing_or_empty_is_downloaded_and_edited_files_stay(hub, root, missing, how):
    folder = download(root, MODEL)
    original = (folder / missing).read_bytes()
    how(folder / missing)
    for path in folder.iterdir():
        if path.name not in (missing, "download.json"):
            path.write_bytes(path.read_bytes() + b" ")
    before = contents(folder)
    hub.reset()
    download(root, MODEL)
    assert contents(folder) == {**before, missing: original}
    fetched = [request.path for request in hub.requests if "/resolve/" in request.path]
    assert [path.rpartition("/")[2] for path in fetched] == [missing]


def test_missing_files_come_from_the_commit_of_the_existing_ones(hub, root):
    folder = download(root, MODEL)
    record = folder / "download.json"
    record.write_text(record.read_text().replace(COMMIT, OLDER))
    (folder / WEIGHTS).unlink()
    with pytest.raises(DownloadError, match=f"no longer has the commit {OLDER}.*Move"):
        download(root, MODEL)
    hub.repos[MODEL.repo_id].revisions += (OLDER,)
    hub.reset()
    download(root, MODEL)
    assert all(OLDER in request.path for request in hub.requests)
    assert json.loads(record.read_text())["commit"] == OLDER


def test_weights_that_the_user_converted_replace_the_downloaded_ones(hub, root):
    folder = download(root, MODEL)
    own = folder / "diffusion_pytorch_model.bin"
    save(load_file(folder / WEIGHTS), own)
    (folder / WEIGHTS).unlink()
    hub.reset()
    assert find_files(download(root, MODEL)).weights == own
    assert not hub.requests
    (folder / "scheduler_config.json").unlink()
    assert find_files(download(root, MODEL)).weights == own


def test_a_file_that_was_put_there_by_hand_is_not_replaced_when_the_rest_is_downloaded(hub, root):
    own = root / MODEL.folder_name / "scheduler_config.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"beta_end": 0.01}')
    scheduler = read_checkpoint(find_files(download(root, MODEL))).scheduler
    assert scheduler == {"_class_name": "DDPMScheduler", "beta_end": 0.01}


def test_a_folder_of_another_model_is_never_touched(hub, root):
    hub.repos[MODEL.repo_id].revisions += ("a/b", "a--b")
    folder = download(root, HubModel(MODEL.repo_id, "a/b"))
    before = contents(root)
    with pytest.raises(DownloadError, match=r"contains another model.*Move or rename"):
        download(root, HubModel(MODEL.repo_id, "a--b"))
    assert contents(root) == before
    assert folder == root / HubModel(MODEL.repo_id, "a--b").folder_name


def test_a_damaged_record_does_not_make_a_whole_model_incomplete(hub, root):
    folder = download(root, MODEL)
    for content in ("", "{", "[]", '{"files": 3}', json.dumps({**MODEL.record, "files": {}})):
        (folder / "download.json").write_text(content)
        hub.reset()
        if content != '{"files": 3}':
            assert download(root, MODEL) == folder
            assert not hub.requests


@pytest.mark.parametrize("layout", ["root", "pipeline"])
def test_a_download_that_dies_while_files_get_their_names_is_completed(
    hub, root, tmp_path, monkeypatch, layout
):
    hub.repos[MODEL.repo_id] = repository(tmp_path / "it", layout=layout)
    whole = contents(download(root, MODEL))
    replace = os.replace
    for allowed in range(len(whole)):
        calls = iter([True] * allowed + [False])

        def dying(source: Any, target: Any, calls: Any = calls) -> None:
            if not next(calls):
                raise KeyboardInterrupt
            replace(source, target)

        place = root / f"{allowed}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            with pytest.raises(KeyboardInterrupt):
                download(place, MODEL)
        hub.reset()
        assert contents(download(place, MODEL)) == whole
        assert not [request for request in hub.requests if "/resolve/" in request.path]


# Two processes

SCRIPT = """
import sys
from pathlib import Path
from comfyui_unconditional.checkpoints.hub import HubModel, download
print("ready", flush=True)
for line in sys.stdin:
    root, repo_id = line.split()
    print(download(Path(root), HubModel(repo_id)).name, flush=True)
"""


class Downloader:
    """A process that downloads the requested model."""

    def __init__(self, hub: Hub):
        names = {"HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1", "PYTHONPATH": _path()}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, **names},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout
        assert self.process.stderr
        return self.process.stdout.readline().strip() or self.process.stderr.read()


def _path() -> str:
    import comfyui_unconditional

    return os.pathsep.join([str(Path(comfyui_unconditional.__path__[0]).parent), *sys.path])


def test_two_hosts_that_share_a_models_folder_download_the_same_model_at_once(hub, root):
    repo = hub.repos.pop(MODEL.repo_id)
    repos = [f"somebody/model-{k}" for k in range(4)]
    hub.repos |= dict.fromkeys(repos, repo)
    hub.delay = lambda: time.sleep(0.05)
    both = [Downloader(hub) for _ in range(2)]
    try:
        assert [one.answer() for one in both] == ["ready", "ready"]
        for repo_id in repos:
            for one in both:
                one.ask(f"{root} {repo_id}")
            name = repo_id.replace("/", "--")
            assert [one.answer() for one in both] == [name, name]
            found = contents(root / name)
            found.pop("download.json")
            assert found == {name: repo.files[name] for name in found}
            assert read_checkpoint(find_files(root / name))
            sent = [r for r in hub.requests if repo_id in r.path and r.path.endswith(WEIGHTS)]
            assert len(sent) == 1  # the other one waited for it
        assert len(list(root.iterdir())) == len(repos)
    finally:
        for one in both:
            one.process.kill()
            one.process.communicate()


def test_a_waiting_host_continues_where_a_dead_one_stopped(hub, root):
    # The library hands on 10 MB at a time.
    hub.repos[MODEL.repo_id].files[WEIGHTS] = weights = bytes(22 * 2**20)
    line = f"{root} {MODEL.repo_id}"
    first, second = (Downloader(hub) for _ in range(2))
    waiting = threading.Event()

    def kill_the_first() -> None:
        parts = list(root.glob(f".*.unfinished/{WEIGHTS}*.part"))
        if parts and not waiting.is_set():
            waiting.set()
            second.ask(line)
        if first.process.poll() is None and sum(path.stat().st_size for path in parts) > 2**20:
            first.process.kill()
            first.process.wait()

    try:
        assert [first.answer(), second.answer()] == ["ready", "ready"]
        hub.delay = kill_the_first
        first.ask(line)
        assert second.answer() == MODEL.folder_name
        assert (root / MODEL.folder_name / WEIGHTS).read_bytes() == weights
        asked = [r.range for r in hub.requests if r.path.endswith(WEIGHTS)]
        assert len(asked) == 2
        assert asked[0] is None
        assert asked[1]
    finally:
        for one in (first, second):
            one.process.kill()
            one.process.communicate()


@pytest.mark.parametrize("reason", [OSError(errno.ENOLCK, "No locks"), NotImplementedError()])
def test_a_download_works_on_a_file_system_without_locks(hub, root, monkeypatch, reason):
    import filelock

    def refuse(*arguments: Any, **options: Any) -> None:
        raise reason

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    assert read_checkpoint(find_files(download(root, MODEL)))
    assert [path.name for path in root.iterdir()] == [MODEL.folder_name]


# Settings of the hub's library


def test_the_fast_downloader_of_older_libraries_is_not_used(hub, root, monkeypatch):
    from huggingface_hub import constants, file_download

    name = "HF_HUB_ENABLE_HF_TRANSFER"
    http_get = file_download.http_get
    seen = []

    def asked(*arguments: Any, **options: Any) -> None:
        seen.extend([getattr(constants, name), getattr(file_download, name)])
        http_get(*arguments, **options)

    for module in (constants, file_download):
        monkeypatch.setattr(module, name, True, raising=False)
    monkeypatch.setattr(file_download, "http_get", asked)
    download(root, MODEL)
    assert set(seen) == {False}
    assert getattr(constants, name) is getattr(file_download, name) is True
