"""The command line of the trainer."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files, read_json
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.models import __main__ as models
from comfyui_unconditional.models import digits
from comfyui_unconditional.training import command
from comfyui_unconditional.training.command import main
from comfyui_unconditional.training.plan import SCHEDULER, Plan
from comfyui_unconditional.training.processes import Processes
from comfyui_unconditional.training.trainer import TrainingRun
from comfyui_unconditional.unet.unet2d import UNet2D
from PIL import Image
from training_toys import SPRITE, UNET


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_DRAWN", 3)


def train_on(pictures: Path, out: Path, *more: str) -> list[str]:
    given = "--size 8 --width 32 --batch-size 2 --steps 2 --device cpu"
    return ["folder", str(pictures), "--out", str(out), *given.split(), *more]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(find_files(folder)).weights


def is_same(a: Path, b: Path) -> bool:
    return read_checkpoint(find_files(a)).sha256 == read_checkpoint(find_files(b)).sha256


def interrupt(patch: pytest.MonkeyPatch, at: int) -> None:
    """Press Ctrl-C in the step after ``at``."""
    train_step = TrainingRun._train_step

    def interrupted(self: TrainingRun, step: int) -> float | None:
        if step == at:
            raise KeyboardInterrupt
        return train_step(self, step)

    patch.setattr(TrainingRun, "_train_step", interrupted)


def test_the_command_trains_a_model_and_says_how_to_use_it(picture_folder, tmp_path, capsys):
    out = tmp_path / "model"
    assert main(train_on(picture_folder, out, "--grey", "--flip", "--rotate")) == 0
    said = capsys.readouterr().out
    assert f"The model is in {out}" in said
    assert "ComfyUI/models/diffusers" in said
    assert "of 3 samples are nearly the same as a training picture" in said
    checkpoint = read_checkpoint(find_files(out))
    assert checkpoint.config.in_channels == 1
    assert checkpoint.scheduler is not None
    assert checkpoint.scheduler["prediction_type"] == SCHEDULER.prediction_type
    card = (out / "README.md").read_text()
    assert "| Copying | The model " in card
    assert "mirrored, quarter turns, 12%" in card
    assert not list(out.rglob("*.unfinished"))


def test_the_command_says_which_pictures_it_skipped(picture_folder, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (picture_folder / "damaged.png").write_bytes(b"nothing")
    assert main(train_on(picture_folder, tmp_path / "model")) == 0
    assert "damaged.png" in caplog.text


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ([], "Stopped in step 2, before anything was saved (which happens every 500 steps). Run "),
        (["--save-every", "1"], "Stopped in step 2. Run the same command to continue after step 1"),
    ],
)
def test_the_command_resumes_after_ctrl_c(
    picture_folder, tmp_path, capsys, monkeypatch, saved, words
):
    given = train_on(picture_folder, tmp_path / "model", *saved)
    with monkeypatch.context() as patch:
        interrupt(patch, at=1)
        assert main(given) == 130
    assert words in capsys.readouterr().out

    assert main(given) == 0
    assert main(train_on(picture_folder, tmp_path / "whole")) == 0
    assert is_same(tmp_path / "model", tmp_path / "whole")


def test_more_pictures_continue_a_run_and_are_in_the_card(picture_folder, tmp_path):
    assert main(train_on(picture_folder, tmp_path / "model")) == 0
    Image.new("RGB", (9, 9), "red").save(picture_folder / "new.png")
    assert main(train_on(picture_folder, tmp_path / "model", "--steps", "3")) == 0
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| Pictures | 3 from step 1 (sha256 " in card
    assert "; 4 from step 3 (sha256 " in card


def test_the_command_starts_from_the_weights_and_schedule_of_a_model(picture_folder, tmp_path):
    old, out = tmp_path / "old", tmp_path / "new"
    squared = ["--beta-schedule", "squaredcos_cap_v2", "--grey"]
    assert main(train_on(picture_folder, old, *squared)) == 0
    start = ["--model", str(old), "--learning-rate", "1e-9", "--steps", "1", "--device", "cpu"]
    assert main(["folder", str(picture_folder), "--out", str(out), *start]) == 0
    after = weights(out)
    for name, value in weights(old).items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-7)
    a, b = (read_checkpoint(find_files(folder)) for folder in (old, out))
    assert a.config == b.config
    assert a.scheduler == b.scheduler
    assert "| Starts from | old (sha256 " in (out / "README.md").read_text()


def test_a_model_without_its_schedule_cannot_be_a_start(picture_folder, tmp_path, capsys):
    save_model(tmp_path / "old", UNet2D(UNET).state_dict(), UNET, SCHEDULER)
    (tmp_path / "old" / "scheduler" / "scheduler_config.json").unlink()
    start = ["--model", str(tmp_path / "old"), "--grey"]
    assert main(train_on(picture_folder, tmp_path / "new", *start)) == 1
    assert "The training cannot start from" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_random_crops_train_a_network_that_draws_any_size(picture_folder, tmp_path):
    large = tmp_path / "large"
    large.mkdir()
    Image.effect_noise((40, 24), 80).save(large / "a.png")
    out = tmp_path / "model"
    assert main(train_on(large, out, "--crop", "random", "--network", "small")) == 0
    network = read_checkpoint(find_files(out)).build(UNet2D)
    assert not any("attention" in name for name in network.state_dict())
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 12, 36), torch.tensor([5])).shape == (1, 3, 12, 36)
    assert "random crops" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("more", "corner"),
    [
        ([], [255, 255, 255]),
        (["--background", "#0a14c8"], [10, 20, 200]),
        (["--background", "black", "--grey"], [0]),
        (["--alpha"], [0, 0, 0, 0]),
    ],
)
def test_the_command_trains_sprites_on_a_background_or_with_their_transparency(
    tmp_path, monkeypatch, more, corner
):
    (tmp_path / "sprites").mkdir()
    SPRITE.save(tmp_path / "sprites" / "a.png")
    corners = []
    train_step = TrainingRun._train_step

    def seen(self: TrainingRun, step: int) -> float | None:
        corners.append(self.pictures.pixels[0][:, 0, 0].tolist())
        return train_step(self, step)

    monkeypatch.setattr(TrainingRun, "_train_step", seen)
    assert main(train_on(tmp_path / "sprites", tmp_path / "model", *more)) == 0
    assert corners == [corner, corner]
    config = read_checkpoint(find_files(tmp_path / "model")).config
    assert config.in_channels == config.out_channels == len(corner)


def test_the_options_of_the_command_reach_the_run(picture_folder, tmp_path):
    more = "--micro-batches 2 --checkpointing --learning-rate 0.002 --seed 7 --small-data off"
    out = tmp_path / "model"
    given = train_on(picture_folder, out, *more.split(), "--precision", "bfloat16", "--flip")
    assert main(given) == 0
    options = read_json(out / "training.json")["options"]
    expected = {
        **{"batch_size": 2, "micro_batches": 2, "learning_rate": 0.002, "seed": 7},
        **{"augment": 0.0, "dropout": 0.0, "flip": True, "rotate": False},
        **{"precision": "bfloat16", "checkpointing": True, "decay": "constant"},
    }
    assert {name: options[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("option", "values", "words"),
    [
        ("background", ["nothing", "#11223344", "12"], "is not a colour; enter a name, for ex"),
        ("size", ["8x8x8", "a", "8x", "-8"], "is not a size; enter for example 64, or 64x96"),
    ],
)
def test_what_is_no_colour_or_size_is_an_error_that_says_how_to_write_one(
    picture_folder, tmp_path, capsys, option, values, words
):
    for value in values:
        with pytest.raises(SystemExit):
            main(train_on(picture_folder, tmp_path / "model", f"--{option}={value}"))
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--size", "70"], "multiples of 32 from 64 on"),
        (["--size", "8x16", "--rotate"], "cannot be turned by a quarter"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--learning-rate", "-1"], "learning rate must be above 0"),
        (["--micro-batches", "3"], "cannot be divided into 3 equal parts"),
        (["--width", "40"], "multiple of 32, not 40"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_a_users_mistake_gives_one_sentence(picture_folder, tmp_path, capsys, more, words):
    assert main(train_on(picture_folder, tmp_path / "model", *more)) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "model").exists()


COSINE = replace(digits.SCHEDULER, beta_schedule="squaredcos_cap_v2")


@pytest.mark.parametrize(
    ("more", "change", "scheduler"),
    [
        ([], {}, digits.SCHEDULER),
        (["--seed", "3"], {"seed": 3}, digits.SCHEDULER),
        (["--steps", "50"], {"steps": 50}, digits.SCHEDULER),
        (["--beta-schedule", "squaredcos_cap_v2"], {}, COSINE),
    ],
)
def test_the_digits_command_defaults_to_the_settings_of_the_bundled_model(
    tmp_path, monkeypatch, more, change, scheduler
):
    seen = []

    def see(plan: Plan, out: Path, processes: Processes) -> int:
        seen.append(plan)
        assert out == tmp_path
        return 0

    monkeypatch.setattr(models, "train", see)
    own = ["--out", str(tmp_path), "--device", "cpu", "--precision", "float32"]
    assert models.main(["digits", *own, *more]) == 0
    (plan,) = seen
    assert (len(plan.pictures), plan.pictures.size) == (1797, (16, 16))
    assert plan.options == replace(digits.OPTIONS, **change)
    assert (plan.unet, plan.scheduler, plan.start) == (digits.UNET, scheduler, None)


def test_without_scikit_learn_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.delitem(sys.modules, "comfyui_unconditional.models.digits")
    assert models.main(["digits", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "Training needs scikit-learn" in said
    assert "`train` extra" in said
