"""Files that a run writes: whole or not at all, and never over something else."""

from pathlib import Path

import pytest
import torch
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.unet.unet2d import UNet2D
from toys import contents
from training_toys import SCHEDULER, UNET, assert_same_state, finish, make_run


@pytest.mark.parametrize("content", [b"not an archive", b"", "half", {"weights": 3}])
def test_a_damaged_state_is_reported(tmp_path, content):
    finish(make_run(tmp_path), stop_after=1)
    path = tmp_path / "training.pt"
    if isinstance(content, dict):
        torch.save(content, path)
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with pytest.raises(ValueError, match="is not a training state, or is damaged"):
        make_run(tmp_path)


def test_a_run_continues_the_same_whatever_memory_order_its_state_has(tmp_path):
    whole, saved = make_run(tmp_path / "whole"), make_run(tmp_path / "saved")
    finish(whole)
    finish(saved, stop_after=2)
    path = tmp_path / "saved" / "training.pt"
    state = torch.load(path)
    for moments in state["optimizer"]["state"].values():
        for name, value in moments.items():
            if value.ndim == 4:
                moments[name] = value.contiguous(memory_format=torch.channels_last)
    torch.save(state, path)
    goes_on = make_run(tmp_path / "saved")
    finish(goes_on)
    assert_same_state(whole, goes_on)


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"', "\0"])
def test_damaged_settings_are_reported(tmp_path, content):
    finish(make_run(tmp_path), stop_after=1)
    (tmp_path / "training.json").write_text(content)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"its training\.json is damaged\. .* another folder"):
        make_run(tmp_path)
    assert contents(tmp_path) == before


def test_a_state_of_an_earlier_version_is_reported_and_never_overwritten(tmp_path):
    torch.save({"step": 3, "model": {}, "ema": {}}, tmp_path / "training.pt")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"training\.pt is from an earlier version of this"):
        make_run(tmp_path)
    assert contents(tmp_path) == before


def test_the_folder_of_another_model_is_reported_and_never_overwritten(tmp_path):
    save_model(tmp_path, UNet2D(UNET).state_dict(), UNET, SCHEDULER)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="its model was not trained here"):
        make_run(tmp_path)
    assert contents(tmp_path) == before


def test_a_file_in_place_of_the_folder_is_reported(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(ValueError, match=r"is a file\. Choose a folder"):
        make_run(tmp_path / "model")


def test_the_state_survives_a_full_disk(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    finish(run, stop_after=2)
    before = contents(tmp_path)

    def write_a_part(state: object, path: Path) -> None:
        path.write_bytes(b"PK")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", write_a_part)
    with pytest.raises(OSError, match="No space left"):
        finish(run, stop_after=4)
    assert contents(tmp_path).keys() == before.keys()
    assert contents(tmp_path)["training.pt"] == before["training.pt"]


def test_saving_a_model_that_fails_keeps_the_one_before(tmp_path, monkeypatch):
    weights = UNet2D(UNET).state_dict()
    save_model(tmp_path, weights, UNET, SCHEDULER)
    before = contents(tmp_path)
    assert len(before) == 4

    def write_a_part(path: Path, content: bytes) -> int:
        path.open("wb").write(content[:3])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_a_part)
    with pytest.raises(OSError, match="No space left"):
        save_model(tmp_path, weights, UNET, SCHEDULER)
    assert contents(tmp_path) == before
