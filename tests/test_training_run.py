"""A run that is stopped, killed or extended continues as if it had never stopped."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.training.picture_set import PictureSet
from comfyui_unconditional.unet.unet2d import UNet2D
from toys import contents
from training_toys import (
    OPTIONS,
    SCHEDULER,
    UNET,
    assert_same_state,
    finish,
    make_run,
    noise_pictures,
)

EVERYTHING = replace(
    OPTIONS,
    rotate=True,
    augment=0.5,
    dropout=0.3,
    min_snr=5.0,
    micro_batches=2,
    checkpointing=True,
    precision="bfloat16",
)


@pytest.mark.parametrize("stop_after", [1, 3, 4])
@pytest.mark.parametrize("options", [OPTIONS, EVERYTHING], ids=["plain", "everything"])
def test_stopping_and_resuming_gives_the_uninterrupted_weights(tmp_path, options, stop_after):
    whole = make_run(tmp_path / "whole", options)
    losses = finish(whole)

    first = make_run(tmp_path / "parts", options)
    losses_of_parts = finish(first, stop_after)
    assert first.saved_step == stop_after
    resumed = make_run(tmp_path / "parts", options)
    assert resumed.step == resumed.saved_step == stop_after
    losses_of_parts += finish(resumed)

    assert losses_of_parts == losses
    assert_same_state(resumed, whole)


def test_random_crops_are_the_same_after_resuming(tmp_path):
    large = noise_pictures(2, shape=(1, 12, 16)).pixels
    crops = PictureSet(large, (8, 8), "random")
    finish(whole := make_run(tmp_path / "whole", pictures=crops))
    finish(make_run(tmp_path / "parts", pictures=crops), 3)
    finish(resumed := make_run(tmp_path / "parts", pictures=crops))
    assert_same_state(resumed, whole)


def test_more_steps_continue_from_the_end_and_equal_a_longer_run(tmp_path):
    finish(whole := make_run(tmp_path / "whole", replace(OPTIONS, steps=12)))
    finish(make_run(tmp_path / "parts"))
    longer = make_run(tmp_path / "parts", replace(OPTIONS, steps=12))
    assert longer.step == 6
    finish(longer)
    assert_same_state(longer, whole)


def test_fewer_steps_than_were_done_train_no_more(tmp_path):
    finish(make_run(tmp_path))
    run = make_run(tmp_path, replace(OPTIONS, steps=4))
    assert finish(run) == []
    assert run.step == 6


def test_a_run_that_started_from_a_model_continues_from_its_own_weights(tmp_path):
    torch.manual_seed(1)
    weights = UNet2D(UNET).half().state_dict()
    given = {"weights": weights, "start": "a model"}
    whole = make_run(tmp_path / "whole", **given)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, weights[name].float())
    finish(whole)
    finish(make_run(tmp_path / "parts", **given), 2)
    finish(resumed := make_run(tmp_path / "parts", **given))
    assert_same_state(resumed, whole)
    with pytest.raises(ValueError, match="start was a model and is now"):
        make_run(tmp_path / "parts")


def test_an_abandoned_run_continues_from_its_last_saved_state(tmp_path):
    finish(whole := make_run(tmp_path / "whole"))

    steps = make_run(tmp_path / "parts").run()
    for _ in range(3):  # the state is saved after step 2
        next(steps)
    steps.close()
    resumed = make_run(tmp_path / "parts")
    assert resumed.step == 2
    finish(resumed)

    assert_same_state(resumed, whole)


# Trains until it is killed, and prints each step.
_ENDLESS = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from training_toys import OPTIONS, make_run

torch.set_num_threads(1)
run = make_run(Path(sys.argv[1]), replace(OPTIONS, steps=100_000))
for _ in run.run():
    print(run.step, flush=True)
"""


@pytest.mark.parametrize("last_seen", [5, 8])
def test_a_killed_process_leaves_a_whole_model_and_loses_at_most_save_every_steps(
    tmp_path, last_seen
):
    path = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        [sys.executable, "-c", _ENDLESS, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        text=True,
    ) as process:
        assert process.stdout is not None
        done = 0
        for line in process.stdout:
            done = int(line)
            if done == last_seen:
                process.kill()
        # Steps done before the kill arrived count too.
    assert process.returncode != 0
    assert done >= last_seen

    read_checkpoint(find_files(tmp_path)).build(UNet2D)
    run = make_run(tmp_path, replace(OPTIONS, steps=done + 2))
    assert done - OPTIONS.save_every <= run.step <= done + 1
    finish(run)
    finish(whole := make_run(tmp_path / "whole", replace(OPTIONS, steps=done + 2)))
    assert_same_state(run, whole)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.001 and is now 0.5"),
        ({"batch_size": 3}, "batch_size was 4 and is now 3"),
        ({"micro_batches": 2}, "micro_batches was 1 and is now 2"),
        ({"flip": False}, "flip was True and is now False"),
        ({"augment": 0.1, "dropout": 0.1}, "augment was 0.0 and is now 0.1; dropout was 0.0"),
        ({"min_snr": 5.0}, "min_snr was None and is now 5.0"),
        ({"precision": "bfloat16"}, "precision was float32 and is now bfloat16"),
        ({"decay": "cosine"}, "decay was constant and is now cosine"),
        ({"seed": 1}, "seed was 0 and is now 1"),
    ],
)
def test_resuming_with_another_setting_is_rejected_and_names_it(tmp_path, change, words):
    finish(make_run(tmp_path), stop_after=1)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=words):
        make_run(tmp_path, replace(OPTIONS, **change))
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unet": replace(UNET, block_out_channels=(8, 8))}, r"block_out_channels was \[8, 16\]"),
        (
            {"scheduler": replace(SCHEDULER, prediction_type="sample")},
            "prediction_type was epsilon and is now sample",
        ),
        (
            {"pictures": noise_pictures(shape=(1, 16, 8))},
            r"size was \[8, 8\] and is now \[16, 8\]",
        ),
        (
            {"pictures": PictureSet(noise_pictures().pixels, (8, 8), "random")},
            "crop was centre and is now random",
        ),
    ],
)
def test_resuming_with_another_network_or_size_is_rejected_and_names_it(tmp_path, change, words):
    finish(make_run(tmp_path), stop_after=1)
    with pytest.raises(ValueError, match=words):
        make_run(tmp_path, **change)


def test_more_steps_are_a_new_run_if_the_learning_rate_falls_to_0(tmp_path):
    options = replace(OPTIONS, decay="cosine")
    finish(make_run(tmp_path, options))
    with pytest.raises(ValueError, match=r"steps was 6 and is now 12\. To continue it, use its"):
        make_run(tmp_path, replace(options, steps=12))


def test_resuming_may_change_how_often_the_state_is_saved_and_whether_it_compiles(
    tmp_path, monkeypatch
):
    finish(make_run(tmp_path), stop_after=1)
    monkeypatch.setattr(torch, "compile", lambda network: network)
    run = make_run(tmp_path, replace(OPTIONS, save_every=1, compile=True))
    assert run.step == 1
    finish(run, 3)
    assert run.progress.saved == [0, 1, 2, 3]


def test_more_pictures_continue_a_run_and_are_recorded(tmp_path):
    few, more = noise_pictures(5), noise_pictures(7)
    finish(make_run(tmp_path, pictures=few))
    run = make_run(tmp_path, replace(OPTIONS, steps=9), more)
    finish(run)
    finish(resumed := make_run(tmp_path, replace(OPTIONS, steps=12), more))
    assert resumed.progress.pictures == [(0, 5, few.sha256), (6, 7, more.sha256)]


def test_pictures_that_no_step_saw_are_not_recorded(tmp_path):
    seen = noise_pictures(5)
    finish(make_run(tmp_path, pictures=noise_pictures(3)), stop_after=0)
    first = make_run(tmp_path, pictures=noise_pictures(4)).run()
    next(first)
    first.close()  # before the state is saved
    finish(make_run(tmp_path, pictures=seen))
    run = make_run(tmp_path, pictures=noise_pictures(6))
    finish(run)  # nothing is left to do
    assert run.progress.pictures == [(0, 5, seen.sha256)]
