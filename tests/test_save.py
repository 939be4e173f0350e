"""A saved model opens here and in diffusers, and nothing else changes on the disk."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files, read_json
from comfyui_unconditional.checkpoints.reading import Checkpoint, read_checkpoint
from comfyui_unconditional.checkpoints.saving import save_as_new_model
from comfyui_unconditional.schedulers.config import SchedulerConfig
from diffusers import DDPMPipeline
from safetensors.torch import load_file

SCHEDULER = SchedulerConfig(beta_schedule="squaredcos_cap_v2", clip_sample_range=2.0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return make_checkpoint(tmp_path)


def make_checkpoint(tmp_path: Path, dtype: torch.dtype = torch.float32) -> Checkpoint:
    toys.write_checkpoint(tmp_path / "original", toys.TINY, dtype=dtype, legacy=True)
    return read_checkpoint(find_files(tmp_path / "original"))


def save(root: Path, name: str, checkpoint: Checkpoint, **more: Any) -> str:
    return save_as_new_model(root, name, checkpoint.weights, checkpoint.config, SCHEDULER, **more)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_saved_model_comes_back_bit_for_bit_here_and_in_diffusers(tmp_path, dtype):
    checkpoint = make_checkpoint(tmp_path, dtype)
    name = save(tmp_path / "saved", "mine/tiny", checkpoint)
    assert name == "mine/tiny"
    files = find_files(tmp_path / "saved" / name)
    ours = read_checkpoint(files)
    assert ours.config == checkpoint.config
    assert ours.dtype == dtype
    assert files.scheduler_config is not None
    assert SchedulerConfig.from_dict(read_json(files.scheduler_config)) == SCHEDULER
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "saved" / name, dtype=dtype)
    assert pipeline.scheduler.config.beta_schedule == "squaredcos_cap_v2"
    theirs = pipeline.unet.state_dict()
    for weights in (ours.weights, theirs):
        assert weights.keys() == checkpoint.weights.keys()
        for key, tensor in checkpoint.weights.items():
            assert weights[key].dtype == dtype
            assert torch.equal(weights[key], tensor)


def test_an_existing_folder_is_never_overwritten(tmp_path, checkpoint):
    (tmp_path / "saved" / "tiny").mkdir(parents=True)
    (tmp_path / "saved" / "tiny" / "notes.txt").write_text("keep")
    names = [save(tmp_path / "saved", "tiny", checkpoint, taken={"tiny_00003"}) for _ in range(2)]
    assert names == ["tiny_00002", "tiny_00004"]
    assert [path.name for path in (tmp_path / "saved" / "tiny").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", "../x", "a/../../x", "/x", "a//b", ".hidden", "a/.b", "a\\..\\x"),
        *("C:x", "a\0b", "a\nb", "a/b/c/d/e", "x.", "*", "a/", "a\ud800", "a\udcff/x"),
    ],
)
def test_an_invalid_name_or_one_that_leads_outside_is_rejected(tmp_path, checkpoint, name):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="is not a valid model name"):
        save(tmp_path / "saved", name, checkpoint)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_of_the_same_name_is_not_replaced(tmp_path, checkpoint):
    (tmp_path / "saved" / "tiny").mkdir(parents=True)
    assert save(tmp_path / "saved", "tiny", checkpoint) == "tiny_00002"
    assert not list((tmp_path / "saved" / "tiny").iterdir())


def test_models_saved_at_once_under_one_name_get_a_name_each(tmp_path, checkpoint):
    with ThreadPoolExecutor(8) as pool:
        saves = [pool.submit(save, tmp_path / "saved", "a/tiny", checkpoint) for _ in range(8)]
        names = {each.result() for each in saves}
    assert names == {"a/tiny", *(f"a/tiny_{number:05}" for number in range(2, 9))}
    for name in names:
        read_checkpoint(find_files(tmp_path / "saved" / name))
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["a"]


def test_where_a_folder_cannot_be_renamed_onto_an_empty_one_models_are_saved_too(
    tmp_path, checkpoint, monkeypatch
):
    replace = os.replace

    def as_on_windows(old: Path, new: Path) -> None:
        if Path(new).is_dir():
            raise PermissionError(13, "Access is denied")
        replace(old, new)

    monkeypatch.setattr(os, "replace", as_on_windows)
    names = [save(tmp_path / "saved", "tiny", checkpoint) for _ in range(2)]
    assert names == ["tiny", "tiny_00002"]
    read_checkpoint(find_files(tmp_path / "saved" / "tiny_00002"))


@pytest.mark.parametrize("name", ["con", "NUL", "aux.old", "a/com1", "lpt9 .x", "PRN.tar.gz"])
def test_a_name_that_windows_reserves_for_a_device_is_rejected(tmp_path, checkpoint, name):
    with pytest.raises(ValueError, match=r"'.*' is a device on Windows"):
        save(tmp_path / "saved", name, checkpoint)
    assert save(tmp_path / "saved", "control", checkpoint) == "control"


@pytest.mark.parametrize("name", ["x" * 300, "\N{SNOWMAN}" * 90, "y" * 300 + "/x"])
def test_a_name_that_is_too_long_is_rejected(tmp_path, checkpoint, name):
    with pytest.raises(ValueError, match=r"is too long .*Choose a shorter one\."):
        save(tmp_path / "saved", name, checkpoint)


def test_a_link_that_leads_outside_is_not_followed(tmp_path, checkpoint):
    (tmp_path / "saved").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "saved" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="leads outside"):
        save(tmp_path / "saved", "link/tiny", checkpoint)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_model_inside_of_a_model_is_rejected(tmp_path, checkpoint):
    save(tmp_path / "saved", "tiny", checkpoint)
    with pytest.raises(ValueError, match="'tiny' is a model itself"):
        save(tmp_path / "saved", "tiny/inside", checkpoint)


def test_a_failure_leaves_no_partial_file(tmp_path, checkpoint, monkeypatch):
    written = Path.write_bytes

    def fill_the_disk(path: Path, content: bytes) -> int:
        if "safetensors" in path.name:
            written(path, content[:100])
            raise OSError(28, "No space left on device")
        return written(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(ValueError, match="No space left on device"):
        save(tmp_path / "saved", "deep/tiny", checkpoint)
    assert not list((tmp_path / "saved").rglob("*"))


def test_a_file_in_place_of_the_folder_is_reported(tmp_path, checkpoint):
    (tmp_path / "saved").write_text("")
    with pytest.raises(ValueError, match="cannot be saved"):
        save(tmp_path / "saved", "tiny", checkpoint)


def test_saving_does_not_change_the_files_that_the_weights_were_read_from(tmp_path, checkpoint):
    path = tmp_path / "original" / "diffusion_pytorch_model.safetensors"
    before = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save(tmp_path / "saved", "tiny", checkpoint)
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(path).items())
