import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files, read_json
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.models import digits
from comfyui_unconditional.models.__main__ import main as digits_main
from comfyui_unconditional.models.judge import as_saved, compare
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.training.command import main
from comfyui_unconditional.training.pictures import default_unet, load_pictures
from comfyui_unconditional.training.trainer import TrainingOptions, TrainingRun
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import compare_networks
from torch import Tensor
from training_toys import SPRITE, UNET

SCHEDULER = SchedulerConfig()
OPTIONS = TrainingOptions(steps=6, batch_size=4, warmup_steps=2, flip=True, save_every=2)


def noise_pictures(n: int = 5, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 1, 8, 8), generator=g, dtype=torch.uint8)


def make_run(
    folder: Path, options: TrainingOptions = OPTIONS, pictures: Tensor | None = None
) -> TrainingRun:
    images = noise_pictures() if pictures is None else pictures
    return TrainingRun(images, folder, unet=UNET, scheduler=SCHEDULER, options=options)


def finish(run: TrainingRun, stop_after: int | None = None) -> list[float]:
    return list(run.run(stop_after))


def assert_same_state(a: TrainingRun, b: TrainingRun) -> None:
    weights_a, weights_b = a.model.state_dict(), b.model.state_dict()
    assert weights_a.keys() == weights_b.keys() == a.ema.keys() == b.ema.keys()
    for name in weights_a:
        assert torch.equal(weights_a[name], weights_b[name]), name
        assert torch.equal(a.ema[name], b.ema[name]), f"average of {name}"


# Trainer


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_stopping_and_resuming_gives_the_uninterrupted_weights(tmp_path, stop_after):
    whole = make_run(tmp_path / "whole")
    losses = finish(whole)

    first = make_run(tmp_path / "parts")
    losses_of_parts = finish(first, stop_after)
    assert first.saved_step == stop_after
    resumed = make_run(tmp_path / "parts")
    assert resumed.step == resumed.saved_step == stop_after
    losses_of_parts += finish(resumed)

    assert losses_of_parts == losses
    assert_same_state(resumed, whole)


def test_an_abandoned_run_continues_from_its_last_saved_state(tmp_path):
    whole = make_run(tmp_path / "whole")
    finish(whole)

    steps = make_run(tmp_path / "parts").run()
    for _ in range(3):  # the state is saved after step 2
        next(steps)
    steps.close()
    resumed = make_run(tmp_path / "parts")
    assert resumed.step == 2
    finish(resumed)

    assert_same_state(resumed, whole)


def test_training_leaves_the_callers_random_numbers_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    finish(make_run(tmp_path), stop_after=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.001 and is now 0.5"),
        ({"steps": 60}, "steps was 6 and is now 60"),
        ({"batch_size": 3}, "batch_size was 4 and is now 3"),
        ({"flip": False}, "flip was True and is now False"),
        ({"seed": 1}, "seed was 0 and is now 1"),
    ],
)
def test_resuming_with_another_setting_is_rejected_and_names_it(tmp_path, change, words):
    finish(make_run(tmp_path), stop_after=1)
    with pytest.raises(ValueError, match=words):
        make_run(tmp_path, replace(OPTIONS, **change))


def test_resuming_with_as_many_other_pictures_is_rejected(tmp_path):
    finish(make_run(tmp_path), stop_after=1)
    with pytest.raises(ValueError, match="the pictures are not the same"):
        make_run(tmp_path, pictures=noise_pictures(seed=1))


def test_resuming_may_change_how_often_the_state_is_saved(tmp_path):
    finish(make_run(tmp_path), stop_after=1)
    assert make_run(tmp_path, replace(OPTIONS, save_every=1)).step == 1


def test_a_damaged_state_is_reported(tmp_path):
    (tmp_path / "training.pt").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="is not a training state, or is damaged"):
        make_run(tmp_path)


def test_a_diverged_training_keeps_the_state_saved_before(tmp_path):
    run = make_run(tmp_path)
    finish(run, stop_after=2)
    with torch.no_grad():
        next(run.model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="with a lower learning rate"):
        finish(run)
    assert all(value.isfinite().all() for value in make_run(tmp_path).ema.values())


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch_size": -1}, {"save_every": 0}, {"learning_rate": 0}]
)
def test_options_out_of_range_are_rejected(wrong):
    with pytest.raises(ValueError, match="must be"):
        replace(OPTIONS, **wrong)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((0, 1, 8, 8), "no pictures"),
        ((2, 3, 8, 8), "have 3 channels, but the network takes 1"),
        ((2, 1, 7, 8), "divisible by 2"),
    ],
)
def test_pictures_that_do_not_fit_the_network_are_rejected(tmp_path, shape, words):
    with pytest.raises(ValueError, match=words):
        make_run(tmp_path, pictures=torch.zeros(shape, dtype=torch.uint8))


def test_training_lowers_the_loss(tmp_path):
    options = replace(OPTIONS, steps=60, batch_size=16, learning_rate=5e-3, save_every=60)
    pictures = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    losses = finish(make_run(tmp_path, options, pictures))
    assert sum(losses[-10:]) < sum(losses[:10]) / 2


def test_saving_a_model_that_fails_keeps_the_one_before(tmp_path, monkeypatch):
    weights = UNet2D(UNET).state_dict()
    save_model(tmp_path, weights, UNET, SCHEDULER)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == 4

    def write_a_part(path: Path, content: bytes) -> int:
        path.open("wb").write(content[:3])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_a_part)
    with pytest.raises(OSError, match="No space left"):
        save_model(tmp_path, weights, UNET, SCHEDULER)
    assert {path: path.read_bytes() for path in before} == before


# Models from the user's own pictures


def test_a_model_trained_on_a_folder_of_pngs_loads_here_and_in_diffusers(picture_folder, tmp_path):
    images = load_pictures(picture_folder, 8, 3)
    unet = default_unet(8, 3, width=32)
    scheduler = SchedulerConfig(beta_schedule="squaredcos_cap_v2")
    options = TrainingOptions(steps=20, batch_size=2, save_every=20)
    run = TrainingRun(images, tmp_path / "model", unet=unet, scheduler=scheduler, options=options)
    finish(run)
    save_model(tmp_path / "model", run.ema, unet, scheduler)

    files = find_files(tmp_path / "model")
    assert files.scheduler_config is not None
    assert SchedulerConfig.from_dict(read_json(files.scheduler_config)) == scheduler
    checkpoint = read_checkpoint(files)
    assert checkpoint.config == unet
    assert all(torch.equal(checkpoint.weights[name], run.ema[name]) for name in run.ema)

    from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline

    pipeline = DDPMPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    assert pipeline.scheduler.config["beta_schedule"] == "squaredcos_cap_v2"
    g = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 3, 8, 8, generator=g), torch.tensor([3, 900])
    comparison, apart = compare_networks(checkpoint.build(UNet2D), pipeline.unet, x, t)
    assert comparison.holds
    assert apart < 1e-12


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (8, (64, 128, 192)),
        (28, (64, 128, 192)),
        (32, (128, 256, 256, 256)),
        (64, (128, 128, 256, 256, 512, 512)),
        ((64, 96), (128, 128, 256, 256, 512, 512)),
    ],
)
def test_the_default_network_suits_the_size(size, widths):
    config = default_unet(size, 3)
    assert config.block_out_channels == widths
    assert UNetConfig.from_dict(config.to_dict()) == config


def test_the_default_network_for_large_pictures_has_the_blocks_of_diffusers():
    config = default_unet(128, 3)
    down = ["DownBlock2D"] * 6
    down[4] = "AttnDownBlock2D"
    up = ["UpBlock2D"] * 6
    up[1] = "AttnUpBlock2D"
    assert config.down_block_types == tuple(down)
    assert config.up_block_types == tuple(up)


@pytest.mark.parametrize("width", range(32, 257, 32))
def test_every_allowed_width_gives_a_usable_network(width):
    for size in (16, 32, 64):
        config = default_unet(size, 1, width)
        assert UNetConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("size", [4, 30, 36, 80, (64, 70), 0])
def test_a_size_that_cannot_be_halved_is_rejected_with_those_that_can(size):
    with pytest.raises(ValueError, match=r"multiples of 32 from 64 on|at least 1 pixel"):
        default_unet(size, 3)
    with pytest.raises(ValueError, match="must be a multiple of 32, not 40"):
        default_unet(64, 3, width=40)


# Command line


def train_on(pictures: Path, out: Path, *more: str) -> list[str]:
    size = ["--size", "8", "--width", "32", "--batch-size", "2", "--steps", "2"]
    return ["folder", str(pictures), "--out", str(out), *size, *more]


def test_the_command_makes_a_model_and_says_how_to_use_it(picture_folder, tmp_path, capsys):
    out = tmp_path / "model"
    assert main(train_on(picture_folder, out, "--grey", "--flip")) == 0
    said = capsys.readouterr().out
    assert str(out) in said
    assert "ComfyUI/models/diffusers" in said
    checkpoint = read_checkpoint(find_files(out))
    assert checkpoint.config.in_channels == 1
    assert not list(out.rglob("*.unfinished"))


def test_the_command_resumes_after_ctrl_c(picture_folder, tmp_path, capsys, monkeypatch):
    command = train_on(picture_folder, tmp_path / "model", "--save-every", "1")
    train_step = TrainingRun._train_step

    def interrupted(self: TrainingRun, step: int) -> float:
        if step == 1:
            raise KeyboardInterrupt
        return train_step(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "_train_step", interrupted)
        assert main(command) == 130
    assert "Run the same command to continue after step 1" in capsys.readouterr().out
    assert not (tmp_path / "model" / "model_index.json").exists()

    assert main(command) == 0
    assert main(train_on(picture_folder, tmp_path / "whole")) == 0
    a, b = (read_checkpoint(find_files(tmp_path / name)).sha256 for name in ("model", "whole"))
    assert a == b


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

    def seen(self: TrainingRun, step: int) -> float:
        corners.append(self.images[0, :, 0, 0].tolist())
        return train_step(self, step)

    monkeypatch.setattr(TrainingRun, "_train_step", seen)
    assert main(train_on(tmp_path / "sprites", tmp_path / "model", *more)) == 0
    assert corners == [corner, corner]
    config = read_checkpoint(find_files(tmp_path / "model")).config
    assert config.in_channels == config.out_channels == len(corner)


@pytest.mark.parametrize("colour", ["nothing", "#12", "#11223344", "12"])
def test_a_background_that_is_no_colour_is_an_error_that_says_how_to_write_one(
    picture_folder, tmp_path, capsys, colour
):
    with pytest.raises(SystemExit):
        main(train_on(picture_folder, tmp_path / "model", "--background", colour))
    assert f"'{colour}' is not a colour; enter a name, for example black" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--size", "70"], "multiples of 32 from 64 on"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--learning-rate", "-1"], "learning rate must be above 0"),
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
    ("more", "options", "scheduler"),
    [
        ([], digits.OPTIONS, digits.SCHEDULER),
        (["--seed", "3"], replace(digits.OPTIONS, seed=3), digits.SCHEDULER),
        (["--steps", "50"], replace(digits.OPTIONS, steps=50, warmup_steps=5), digits.SCHEDULER),
        (["--beta-schedule", "squaredcos_cap_v2"], digits.OPTIONS, COSINE),
    ],
)
def test_the_digits_command_defaults_to_the_settings_of_the_bundled_model(
    tmp_path, monkeypatch, more, options, scheduler
):
    seen = []

    def seen_only(images: Tensor, folder: Path, **settings: object) -> TrainingRun:
        seen.append((tuple(images.shape), settings))
        raise ValueError

    monkeypatch.setattr("comfyui_unconditional.training.command.TrainingRun", seen_only)
    digits_main(["digits", "--out", str(tmp_path), *more])
    settings = {"unet": digits.UNET, "scheduler": scheduler, "options": options}
    assert seen == [((1797, 1, 16, 16), settings)]


def test_without_scikit_learn_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.delitem(sys.modules, "comfyui_unconditional.models.digits")
    assert digits_main(["digits", "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "Training needs scikit-learn" in said
    assert "`train` extra" in said


def test_more_steps_for_a_finished_training_are_rejected_with_an_explanation(
    picture_folder, tmp_path, capsys
):
    assert main(train_on(picture_folder, tmp_path / "model")) == 0
    assert main(train_on(picture_folder, tmp_path / "model", "--steps", "3")) == 1
    assert "steps was 2 and is now 3" in capsys.readouterr().err


def test_only_a_model_of_digits_can_be_judged(tmp_path, capsys):
    save_model(tmp_path, UNet2D(UNET).state_dict(), UNET, SCHEDULER)
    assert digits_main(["judge", str(tmp_path)]) == 1
    assert "8 x 8 pixels and 1 channel. Only digit models" in capsys.readouterr().err


# Judgement


def test_copies_of_real_digits_are_seen_as_copies():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(6)
    centres = torch.rand(10, 1, 16, 16, generator=g) * 2 - 1
    images = (centres[labels] + 0.01 * torch.randn(60, 1, 16, 16, generator=g)).clamp(-1, 1)
    samples = images[labels < 9]  # none is a nine
    judgement = compare(samples, images, labels)
    assert judgement.distances.median == 0
    assert judgement.distances_real.smallest > 0
    assert judgement.unanimous == judgement.unanimous_real == 1
    assert judgement.shares == pytest.approx([1 / 9] * 9 + [0])
    assert judgement.rarest == 9


def test_between_two_digits_the_vote_is_divided_and_the_nearer_one_wins():
    images = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.9, 0.95]).reshape(-1, 1, 1, 1)
    labels = torch.tensor([7, 4, 4, 7, 2, 2])
    judgement = compare(torch.zeros(1, 1, 16, 16), images.expand(-1, 1, 16, 16), labels)
    assert judgement.unanimous == 0
    assert judgement.shares[7] == 1


def test_samples_are_judged_as_saved_pictures():
    x = torch.tensor([-3.0, -1.0, 0.001, 1.0, 2.0])
    expected = torch.tensor([-1, -1, 1 / 255, 1, 1])
    torch.testing.assert_close(as_saved(x), expected, rtol=0, atol=1e-6)
