"""A run whose loss becomes NaN or jumps goes back and takes smaller steps."""

import logging
import random
from dataclasses import replace

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.training.progress import Progress
from comfyui_unconditional.training.trainer import TrainingRun
from training_toys import OPTIONS, Spoiled, assert_same_state, finish, make_run, noise_pictures

RETRIES = 3


def rates(run: TrainingRun) -> float:
    return run.optimizer.param_groups[0]["lr"]


def test_after_nan_the_run_goes_back_to_the_last_saved_state_with_half_the_rate(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    run = make_run(tmp_path / "run")
    Spoiled(run, [4])
    steps, seen = run.run(), []
    for _ in steps:
        seen.append((run.step, rates(run)))
    full = OPTIONS.learning_rate
    assert seen == [
        *[(1, full / 2), (2, full), (3, full)],  # the first is of the warm-up
        *[(3, full / 2), (4, full / 2), (5, full / 2), (6, full / 2)],
    ]
    assert run.progress.retries == [4]
    assert "NaN at step 4. Continuing from step 2 with half the learning rate" in caplog.text

    # Its weights are those of a run with that rate from step 2 on.
    finish(make_run(tmp_path / "other"), 2)
    halved = make_run(tmp_path / "other")
    halved.progress.retries = [4]
    finish(halved)
    assert_same_state(run, halved)


def test_nan_before_the_first_save_goes_back_to_the_first_weights(tmp_path):
    run = make_run(tmp_path)
    Spoiled(run, [1, 2])
    finish(run)
    assert run.progress.retries == [1, 2]
    assert rates(run) == OPTIONS.learning_rate / 4


def test_a_run_that_diverges_again_and_again_stops_and_keeps_the_last_good_state(tmp_path):
    run = make_run(tmp_path)
    Spoiled(run, [4] * (RETRIES + 1))
    with pytest.raises(
        ValueError, match=r"diverged at step 4, for the 4th time.* step 2 is kept.* below 0\.001"
    ):
        finish(run)
    weights = read_checkpoint(find_files(tmp_path)).weights
    assert all(value.isfinite().all() for value in weights.values())
    resumed = make_run(tmp_path)
    assert resumed.step == 2
    assert resumed.progress.retries == [4] * RETRIES
    for name, value in resumed.averaged.state_dict().items():
        assert torch.equal(value, weights[name])


def test_weights_that_become_nan_are_never_saved(tmp_path):
    finish(run := make_run(tmp_path), stop_after=2)
    with torch.no_grad():
        next(run.model.parameters()).fill_(torch.nan)
    finish(run)
    assert run.progress.retries == [3]
    assert all(value.isfinite().all() for value in make_run(tmp_path).averaged.parameters())


def test_a_run_that_is_killed_after_going_back_continues_with_the_halved_rate(tmp_path):
    whole = make_run(tmp_path / "whole")
    Spoiled(whole, [4])
    finish(whole)

    killed = make_run(tmp_path / "parts")
    Spoiled(killed, [4])
    steps = killed.run()
    for _ in range(4):  # steps 1, 2, 3, and after going back 3 again
        next(steps)
    steps.close()
    resumed = make_run(tmp_path / "parts")
    assert (resumed.step, resumed.progress.retries) == (2, [4])
    finish(resumed)
    assert_same_state(resumed, whole)


def test_a_run_that_goes_back_remembers_its_new_pictures(tmp_path):
    finish(make_run(tmp_path), 2)
    more = noise_pictures(9)
    run = make_run(tmp_path, pictures=more)
    Spoiled(run, [3])
    finish(run, 3)
    assert run.progress.pictures == [(0, 5, noise_pictures().sha256), (2, 9, more.sha256)]


def test_a_network_that_blows_up_with_a_finite_loss_is_noticed_too(tmp_path):
    finish(
        run := make_run(tmp_path, replace(OPTIONS, steps=115, save_every=110), noise_pictures(1)),
        110,
    )
    with torch.no_grad():
        for value in run.network.parameters():
            value.mul_(4)
    finish(run)
    assert run.progress.retries == [111]
    assert run.step == 115
    assert max(run.progress.losses[-5:]) < 2 * max(run.progress.losses[-105:-5])


USUAL = [1.0, 0.9, 1.1, 1.0] * 25


@pytest.mark.parametrize(
    ("losses", "jumped"),
    [
        ([], False),
        ([9.0] * 8, False),  # too early to say what is usual
        ([*USUAL[:99], *[9.0] * 8], False),
        ([*USUAL, *[9.0] * 8], True),
        ([*USUAL, *[3.9] * 8], False),
        ([*USUAL, *[4.1] * 8], True),
        ([*USUAL, *[1.0] * 7, 20.0], False),  # one difficult step
        ([*USUAL, *[1.0] * 7, 30.0], True),
        ([*[50.0] * 400, *USUAL, *[9.0] * 8], True),  # the start of the run does not count
        ([*USUAL[:92], *[9.0] * 16], False),  # not above the highest before
    ],
)
def test_a_jump_is_a_mean_of_8_steps_far_above_the_100_before(losses, jumped):
    assert Progress(losses=losses).has_jumped == jumped


def test_losses_that_always_vary_widely_are_not_a_jump():
    """As with one picture per step: a few timesteps are far more difficult than the others."""
    draws = random.Random(0)
    losses = [20.0 if draws.random() < 0.1 else 1.0 for _ in range(3000)]
    assert not any(Progress(losses=losses[: k + 1]).has_jumped for k in range(3000))
    assert Progress(losses=[*losses, *[25.0] * 8]).has_jumped


def test_new_pictures_may_have_another_loss():
    losses = [*USUAL, *[9.0] * 8]
    assert Progress(losses=losses, pictures=[(0, 5, "a")]).has_jumped
    assert not Progress(losses=losses, pictures=[(0, 5, "a"), (100, 6, "b")]).has_jumped
    later = Progress(losses=[*losses, *[9.0] * 92, *[40.0] * 8])
    later.pictures = [(0, 5, "a"), (100, 6, "b")]
    assert later.has_jumped


def test_a_state_with_an_unusual_loss_is_not_saved_until_it_is_usual_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Progress, "is_suspicious", property(lambda self: self.step in (2, 3, 4)))
    finish(run := make_run(tmp_path))
    assert run.progress.saved == [0, 5, 6]


def test_one_loss_above_4_times_the_usual_is_suspicious():
    assert not Progress(losses=[*USUAL, *[1.0] * 7, 3.9]).is_suspicious
    assert Progress(losses=[*USUAL, *[1.0] * 7, 4.1]).is_suspicious
