"""Downloads from a hub on this machine: whole and checked, or an error that says what to do."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.hub import DownloadError, HubModel, download
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from hub_lookalike import COMMIT, TOKEN, Hub, Repo

MODEL = HubModel("google/ddpm-toy")
WEIGHTS = "diffusion_pytorch_model.safetensors"
# A few megabytes, so that a download can be stopped midway.
WIDE = {**toys.TINY, "block_out_channels": [64, 128]}


def repository(folder: Path, *, layout: str = "root", suffix: str = "safetensors") -> Repo:
    toys.write_checkpoint(folder, WIDE, layout=layout, suffix=suffix, scheduler={})
    (folder / "README.md").write_text("not needed")
    (folder / "samples").mkdir()
    (folder / "samples" / "config.json").write_text("not needed either")
    return Repo(toys.contents(folder))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with Hub({MODEL.repo_id: repository(tmp_path / "remote")}) as running:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "diffusers"


@pytest.mark.parametrize("layout", ["root", "pipeline"])
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_only_the_files_that_are_needed_are_downloaded(hub, root, tmp_path, layout, suffix):
    hub.repos[MODEL.repo_id] = repo = repository(tmp_path / "it", layout=layout, suffix=suffix)
    shown: list[tuple[int, int]] = []
    folder = download(root, MODEL, lambda done, total: shown.append((done, total)))
    assert folder == root / "google--ddpm-toy"
    wanted = {name for name in repo.files if not name.startswith(("README", "samples"))}
    assert toys.contents(folder).keys() == {*wanted, "download.json"}
    for name in wanted:
        assert (folder / name).read_bytes() == repo.files[name]
    assert read_checkpoint(find_files(folder)).config.sample_size == 8
    assert shown == sorted(shown)
    assert shown[-1] == (sum(len(repo.files[name]) for name in wanted),) * 2
    record = json.loads((folder / "download.json").read_text())
    assert record["commit"] == COMMIT
    assert [r for r in hub.requests if r.authorization != f"Bearer {TOKEN}"] == []
    assert [path.name for path in root.iterdir()] == ["google--ddpm-toy"]


def test_timesteps_found_for_a_model_come_with_it(hub, root):
    lists = b'{"timesteps": {"4": [9, 6, 3, 1]}}'
    hub.repos[MODEL.repo_id].files["optimised_timesteps.json"] = lists
    folder = download(root, MODEL)
    assert read_checkpoint(find_files(folder)).read_process().optimised == ((9, 6, 3, 1),)


def test_a_second_run_makes_no_request(hub, root):
    first = download(root, MODEL)
    hub.reset()
    assert download(root, MODEL) == first
    assert not hub.requests


def test_files_put_there_by_hand_are_used_without_a_request(hub, root):
    toys.write_checkpoint(root / MODEL.folder_name, toys.TINY)
    assert download(root, MODEL) == root / MODEL.folder_name
    assert not hub.requests


def test_a_stopped_download_continues_where_it_stopped(hub, root):
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 2 * 2**20:
            raise StoppedError

    with pytest.raises(StoppedError):
        download(root, MODEL, stop)
    assert not (root / MODEL.folder_name).exists()
    hub.reset()
    folder = download(root, MODEL)
    ranges = {request.range for request in hub.requests if request.path.endswith(WEIGHTS)}
    assert len(ranges) == 1
    start = int(str(ranges.pop()).removeprefix("bytes=").removesuffix("-"))
    assert start >= 2**20
    assert (folder / WEIGHTS).read_bytes() == hub.repos[MODEL.repo_id].files[WEIGHTS]


def test_a_broken_connection_is_resumed(hub, root):
    hub.cuts = 1
    folder = download(root, MODEL)
    assert (folder / WEIGHTS).read_bytes() == hub.repos[MODEL.repo_id].files[WEIGHTS]


def test_a_truncated_file_never_gets_its_name_and_the_next_run_completes_it(hub, root):
    hub.on_the_way = lambda name, content: content[:-1000] if name == WEIGHTS else content
    with pytest.raises(DownloadError, match="was not downloaded completely"):
        download(root, MODEL)
    assert not (root / MODEL.folder_name).exists()
    hub.reset()
    folder = download(root, MODEL)
    assert (folder / WEIGHTS).read_bytes() == hub.repos[MODEL.repo_id].files[WEIGHTS]


@pytest.mark.parametrize("damaged", [WEIGHTS, "config.json"])
def test_a_file_with_another_hash_never_gets_its_name(hub, root, damaged):
    hub.on_the_way = lambda name, sent: sent[:-1] + b"!" if name == damaged else sent
    with pytest.raises(DownloadError, match=rf"{damaged}.*was damaged.*Try again"):
        download(root, MODEL)
    assert not [name for name in toys.contents(root) if damaged in name]
    assert not (root / MODEL.folder_name).exists()
    hub.reset()
    assert read_checkpoint(find_files(download(root, MODEL)))


def test_a_variant_and_a_revision_have_folders_of_their_own(hub, root):
    repo = hub.repos[MODEL.repo_id]
    half = toys.write_checkpoint(root.parent / "half", WIDE, dtype=torch.float16)
    assert half is not None
    content = (root.parent / "half" / WEIGHTS).read_bytes()
    repo.files["diffusion_pytorch_model.fp16.safetensors"] = content
    folder = download(root, HubModel(MODEL.repo_id, variant="fp16"))
    assert folder.name == "google--ddpm-toy+fp16"
    assert read_checkpoint(find_files(folder)).dtype == torch.float16
    assert download(root, HubModel(MODEL.repo_id, COMMIT)).name == f"google--ddpm-toy@{COMMIT}"


@pytest.mark.parametrize(
    ("refusal", "files_only", "words"),
    [
        ((401, "GatedRepo"), True, r"is gated.*accept.*hf auth login"),
        ((403, "GatedRepo"), True, r"is gated.*accept.*hf auth login"),
        (
            (401, "RepoNotFound"),
            False,
            r"google/ddpm-toy does not exist on the hub, or it is private",
        ),
        ((403, ""), False, r"denied you access to.*hf auth login"),
        ((404, "RepoNotFound"), False, r"google/ddpm-toy does not exist on the hub"),
        ((404, "RevisionNotFound"), False, r"has no revision 'main'"),
        ((500, ""), False, r"returned 500"),
    ],
)
def test_a_refusal_by_the_hub_is_explained(hub, root, caplog, refusal, files_only, words):
    caplog.set_level(logging.DEBUG)
    repo = hub.repos[MODEL.repo_id]
    repo.refusal, repo.refuse_files_only = refusal, files_only
    with pytest.raises(DownloadError, match=words) as caught:
        download(root, MODEL)
    assert TOKEN not in str(caught.value) + caplog.text
    assert not (root / MODEL.folder_name).exists()


def test_a_repository_without_such_a_model_is_reported(hub, root):
    repo = hub.repos[MODEL.repo_id]
    del repo.files[WEIGHTS]
    with pytest.raises(DownloadError, match=rf"has no {WEIGHTS} and no .*\.bin"):
        download(root, MODEL)
    del repo.files["config.json"]
    with pytest.raises(DownloadError, match=r"no config\.json"):
        download(root, MODEL)


def test_without_a_network_the_message_says_which_files_go_where(hub, root, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"by hand.*config\.json.*\.safetensors") as caught:
        download(root, MODEL)
    assert str(root / MODEL.folder_name) in str(caught.value)


def test_without_the_library_the_message_says_which_files_go_where(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DownloadError, match=r"huggingface_hub.*by hand.*config\.json"):
        download(root, MODEL)


def test_a_full_disk_is_reported(hub, root, monkeypatch):
    import shutil

    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DownloadError, match="Free some space"):
        download(root, MODEL)


@pytest.mark.parametrize(
    "repo_id",
    [
        *("", "x", "../x", "a/..", "a/../b", "a/b/c", "/a/b", "a//b", "a\\b/c", "a/b\n", "a/.b"),
        *("a/b.", "a--b/c", "a/b..c", "a b/c", "http://x/y", "a/" + "b" * 200, "\u00e4/b", "C:/x"),
    ],
)
def test_an_invalid_repo_id_is_rejected(repo_id):
    with pytest.raises(DownloadError, match="repo_id must be"):
        HubModel(repo_id)


@pytest.mark.parametrize("value", ["../x", "a/../b", "/x", "x/", "", "a\\b", "."])
def test_a_revision_or_variant_that_leads_outside_is_rejected(value):
    with pytest.raises(DownloadError, match="revision must be"):
        HubModel("a/b", value)
    if value:
        with pytest.raises(DownloadError, match="variant must be"):
            HubModel("a/b", "main", value)


def test_names_in_a_listing_that_lead_outside_are_never_followed(hub, root):
    hub.repos[MODEL.repo_id].files |= {
        "../../outside": b"x",
        "/etc/outside": b"x",
        "../config.json": b"{}",
        "unet/../../config.json": b"{}",
    }
    folder = download(root, MODEL)
    assert toys.contents(folder).keys() == {
        "config.json",
        "download.json",
        "model_index.json",
        "scheduler_config.json",
        WEIGHTS,
    }
    assert toys.contents(root).keys() == {f"{folder.name}/{name}" for name in toys.contents(folder)}
