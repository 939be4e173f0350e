"""The model card written by training, and the folder that it describes."""

from dataclasses import replace

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.training.card import write_card
from comfyui_unconditional.training.copying import CopyGauge
from comfyui_unconditional.training.trainer import TrainingRun
from comfyui_unconditional.unet.unet2d import UNet2D
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from float64 import compare_networks
from training_toys import OPTIONS, SCHEDULER, finish, make_run, noise_pictures


def card(run: TrainingRun, **more: object) -> str:
    write_card(run, **more)  # pyright: ignore
    return (run.folder / "README.md").read_text(encoding="utf-8")


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {name} |"))


def test_a_card_says_what_was_trained_on_what_and_how(tmp_path):
    options = replace(
        OPTIONS, rotate=True, augment=0.12, dropout=0.1, min_snr=5.0, learning_rate=2e-4
    )
    pictures = noise_pictures()
    finish(run := make_run(tmp_path / "digits", options, pictures))
    text = card(run)
    assert text.startswith("---\nlicense: unknown\nlibrary_name: diffusers\n")
    assert "# digits\n" in text
    assert "fill in `license` above" in text
    assert f"| Pictures | 5 from step 1 (sha256 {pictures.sha256[:16]}) |" in text
    assert "| Size | 8 x 8 pixels, 1 channels, whole pictures" in text
    assert "widths 8, 16, 1 layers per block, " in row(text, "Network")
    assert "| Starts from | random weights |" in text
    assert "epsilon, linear betas, 1000 timesteps" in row(text, "Objective")
    assert "learning rate 0.0002 (constant after 2 steps), batch 4" in row(text, "Optimiser")
    for words in ("mirrored", "quarter turns", "12%", "dropout 0.1", "min-SNR weighting 5"):
        assert words in row(text, "Augmentation")
    assert "6 steps," in row(text, "Length")
    mean = sum(run.progress.losses) / 6
    assert f"{mean:.4f} at the end" in row(text, "Loss")
    assert "Diverged" not in text
    assert "Copying" not in text


def test_a_card_says_what_the_run_started_from_and_how_it_went(tmp_path):
    finish(make_run(tmp_path))
    finish(run := make_run(tmp_path, replace(OPTIONS, steps=9), noise_pictures(7)))
    run.progress.retries = [3, 8]
    run.progress.seconds = 4000
    copying = CopyGauge(run.pictures, flip=False, rotate=False).measure(torch.zeros(2, 1, 8, 8))
    text = card(run, copying=copying, start="google/ddpm-cat-256")
    assert "5 from step 1" in row(text, "Pictures")
    assert "7 from step 7" in row(text, "Pictures")
    assert "| Starts from | google/ddpm-cat-256 |" in text
    assert "at step 3, 8; each time the learning rate was halved" in row(text, "Diverged")
    assert "67 minutes" in row(text, "Length")
    assert str(copying) in row(text, "Copying")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 seconds"), (29, "29 seconds"), (90, "2 minutes"), (36_000, "10.0 hours")],
)
def test_a_card_gives_the_time_in_a_fitting_unit(tmp_path, seconds, words):
    run = make_run(tmp_path)
    run.progress.seconds = seconds
    assert f"0 steps, {words}, seed 0" in card(run)


def test_a_card_is_written_again_until_the_user_writes_one(tmp_path):
    finish(run := make_run(tmp_path), 2)
    assert "2 steps" in card(run)
    finish(run, 4)
    assert "4 steps" in card(run)
    (tmp_path / "README.md").write_bytes("My own card, in Latin-1: é".encode("latin-1"))
    finish(run)
    write_card(run)
    assert (tmp_path / "README.md").read_bytes() == "My own card, in Latin-1: é".encode("latin-1")


def test_diffusers_opens_the_folder_as_the_card_says(tmp_path):
    scheduler = replace(SCHEDULER, beta_schedule="squaredcos_cap_v2")
    finish(run := make_run(tmp_path / "model", replace(OPTIONS, augment=0.5), scheduler=scheduler))
    assert 'DDPMPipeline.from_pretrained("model")' in card(run)

    pipeline = DDPMPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    assert pipeline.scheduler.config["beta_schedule"] == "squaredcos_cap_v2"
    ours = read_checkpoint(find_files(tmp_path / "model")).build(UNet2D)
    g = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 1, 8, 8, generator=g), torch.tensor([3, 900])
    comparison, apart = compare_networks(ours, pipeline.unet, x, t)
    assert comparison.holds
    assert apart < 1e-12
