"""One step of training: the network's inputs, and the loss."""

from dataclasses import replace

import pytest
import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.training.options import TrainingOptions
from comfyui_unconditional.training.picture_set import PictureSet
from comfyui_unconditional.training.trainer import TrainingRun
from torch import Tensor
from training_toys import OPTIONS, SCHEDULER, UNET, finish, make_run, noise_pictures

PREDICTIONS = ["epsilon", "sample", "v_prediction"]


def shown_to(*runs: TrainingRun) -> list[tuple[Tensor, Tensor]]:
    """What the runs' networks, which are replaced, will be shown: images and timesteps."""
    seen: list[tuple[Tensor, Tensor]] = []

    def spread(x_t: Tensor, t: Tensor, labels: None) -> Tensor:
        seen.append((x_t, t))
        return torch.zeros_like(x_t)

    for run in runs:
        run._spread = spread
    return seen


# Loss


def uniform_picture(value: int) -> PictureSet:
    return PictureSet.of_tensor(torch.full((1, 1, 8, 8), value, dtype=torch.uint8))


def right_answer(prediction: str, x_t: Tensor, t: Tensor, x0: float = 0.2) -> Tensor:
    """What the network should predict where every pixel of every picture has the same value."""
    a = NoiseSchedule.from_config(SCHEDULER).alphas_cumprod[t.long()][:, None, None, None]
    eps = (x_t - a.sqrt() * x0) / (1 - a).sqrt()
    sample = torch.full_like(x_t, x0)
    return {"epsilon": eps, "sample": sample, "v_prediction": a.sqrt() * eps - (1 - a).sqrt() * x0}[
        prediction
    ]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("min_snr", [None, 5.0])
def test_a_network_that_gives_the_right_answer_has_no_loss(tmp_path, prediction, min_snr):
    scheduler = replace(SCHEDULER, prediction_type=prediction)
    options = replace(OPTIONS, min_snr=min_snr)
    run = make_run(tmp_path, options, uniform_picture(153), scheduler=scheduler)
    run._spread = lambda x_t, t, labels: right_answer(prediction, x_t, t)
    assert run._loss(0, 0) < 1e-6
    for other in {*PREDICTIONS} - {prediction}:
        run._spread = lambda x_t, t, labels, other=other: right_answer(other, x_t, t)
        assert run._loss(0, 0) > 0.01


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_weights_are_those_of_the_paper(tmp_path, prediction):
    """Hang et al. 2023: min(SNR, gamma) of the error of x0, whatever the network predicts."""
    scheduler = replace(SCHEDULER, prediction_type=prediction)
    run = make_run(tmp_path, replace(OPTIONS, min_snr=5.0), scheduler=scheduler)
    a = NoiseSchedule.from_config(scheduler).alphas_cumprod.double()
    snr = a / (1 - a)
    # The error of x0 for an error of 1 in what is predicted, squared.
    of_x0 = {"epsilon": 1 / snr, "sample": torch.ones_like(a), "v_prediction": 1 - a}[prediction]
    expected = torch.minimum(snr, torch.tensor(5.0)) * of_x0
    torch.testing.assert_close(run._weights(a), expected)


def test_the_loss_is_weighted_at_each_pictures_own_timestep(tmp_path):
    plain = make_run(tmp_path / "plain", replace(OPTIONS, batch_size=1))
    bounded = make_run(tmp_path / "bounded", replace(OPTIONS, batch_size=1, min_snr=5.0))
    shown = shown_to(plain, bounded)
    ratios = [float(bounded._loss(step, 0) / plain._loss(step, 0)) for step in range(20)]
    seen = [int(t) for _, t in shown]
    assert seen[::2] == seen[1::2]
    a = NoiseSchedule.from_config(SCHEDULER).alphas_cumprod[seen[::2]]
    assert ratios == pytest.approx(bounded._weights(a).tolist(), rel=1e-5)
    assert min(ratios) < 1 == pytest.approx(max(ratios))


def test_the_timesteps_of_a_batch_are_spread_evenly(tmp_path):
    run = make_run(tmp_path, replace(OPTIONS, batch_size=20, micro_batches=2))
    shown = shown_to(run)
    for micro in range(2):
        run._loss(0, micro)
    assert [t // 50 for _, times in shown for t in times.tolist()] == list(range(20))


def test_a_random_number_that_rounds_up_to_1_draws_the_last_timestep(tmp_path, monkeypatch):
    run = make_run(tmp_path, TrainingOptions(steps=1, batch_size=64))
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 1 - 2**-24))
    finish(run)
    assert run.step == 1


def test_each_step_and_each_part_of_it_draws_its_own_noise(tmp_path):
    run = make_run(tmp_path, replace(OPTIONS, micro_batches=2), uniform_picture(0))
    shown = shown_to(run)
    for step in range(2):
        for micro in range(2):
            run._loss(step, micro)
    noise = torch.cat([right_answer("epsilon", *each, x0=-1.0) for each in shown]).flatten(1)
    assert (torch.corrcoef(noise) - torch.eye(len(noise))).abs().max() < 0.6


def test_the_network_receives_scaled_timesteps(tmp_path):
    run = make_run(tmp_path, scheduler=replace(SCHEDULER, timestep_scale=0.5))
    shown = shown_to(run)
    run._loss(0, 0)
    ((_, halves),) = shown
    assert 250 < max(halves) < 500


def test_training_lowers_the_loss(tmp_path):
    options = replace(OPTIONS, steps=60, batch_size=16, learning_rate=5e-3, save_every=60)
    losses = finish(make_run(tmp_path, options, uniform_picture(0)))
    assert sum(losses[-10:]) < sum(losses[:10]) / 2


# Pictures


def test_each_epoch_shows_each_picture_once(tmp_path):
    levels = torch.arange(5, dtype=torch.uint8)[:, None, None, None]
    run = make_run(tmp_path, pictures=PictureSet.of_tensor(levels.expand(5, 1, 8, 8)))
    shown = []
    for step in range(5):
        x0, labels = run._batch(step, 0, torch.Generator())
        shown += ((x0[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
        assert labels is None
    epochs = [shown[first : first + 5] for first in range(0, 20, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({*map(tuple, epochs)}) > 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [({}, 1), ({"flip": True}, 2), ({"rotate": True}, 4), ({"flip": True, "rotate": True}, 8)],
)
def test_pictures_are_mirrored_and_turned_in_all_ways(tmp_path, change, expected):
    options = replace(OPTIONS, **{"flip": False, **change})
    run = make_run(tmp_path, options, noise_pictures(1))
    g = torch.Generator().manual_seed(0)
    found = {tuple(x.flatten().tolist()) for s in range(20) for x in run._batch(s, 0, g)[0]}
    assert len(found) == expected
    picture = noise_pictures(1).pixels[0] / 127.5 - 1
    allowed = [x.rot90(k, (-2, -1)) for x in (picture, picture.flip(-1)) for k in range(4)]
    assert found <= {tuple(x.flatten().tolist()) for x in allowed}
    assert (tuple(picture.flip(-1).flatten().tolist()) in found) == options.flip


def test_pictures_in_float32_are_trained_on_unchanged(tmp_path):
    picture = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    run = make_run(tmp_path, replace(OPTIONS, flip=False), PictureSet.of_tensor(picture))
    assert torch.equal(run._batch(0, 0, torch.Generator())[0], picture.expand(4, 1, 8, 8))


def test_a_run_keeps_no_copy_of_the_pictures(tmp_path):
    pixels = noise_pictures(5).pixels
    pictures = PictureSet(pixels, (8, 8))
    before = [picture.data_ptr() for picture in pixels]
    run = make_run(tmp_path, pictures=pictures)
    finish(run, 1)
    assert run.pictures is pictures
    assert [picture.data_ptr() for picture in run.pictures.pixels] == before
    held = [value for value in vars(run).values() if isinstance(value, Tensor)]
    assert sum(value.numel() for value in held) == 1000  # the schedule


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 8, 8), "have 3 channels, but the network takes 1"),
        ((1, 7, 8), "divisible by 2"),
    ],
)
def test_pictures_that_do_not_fit_the_network_are_rejected(tmp_path, shape, words):
    with pytest.raises(ValueError, match=words):
        make_run(tmp_path / "new", pictures=noise_pictures(2, shape=shape))
    assert not (tmp_path / "new").exists()


def test_quarter_turns_of_pictures_that_are_not_square_are_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"16 x 8 pixels cannot be turned by a quarter"):
        make_run(tmp_path, replace(OPTIONS, rotate=True), noise_pictures(shape=(1, 8, 16)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unet": replace(UNET, out_channels=2)}, "also predicts its variance"),
        ({"unet": replace(UNET, num_class_embeds=3)}, "trained with classes"),
        (
            {"scheduler": replace(SCHEDULER, rescale_betas_zero_snr=True)},
            "predicts the noise, but its schedule ends with pure noise",
        ),
    ],
)
def test_models_that_this_trainer_cannot_teach_are_rejected(tmp_path, change, words):
    with pytest.raises(ValueError, match=words):
        make_run(tmp_path, **change)


def test_a_schedule_that_ends_with_noise_alone_can_be_learnt_from_v(tmp_path):
    scheduler = replace(SCHEDULER, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    run = make_run(tmp_path, replace(OPTIONS, min_snr=5.0), scheduler=scheduler)
    assert len(finish(run)) == OPTIONS.steps
    assert run.progress.retries == []


def test_a_noise_schedule_of_any_length_is_trained_on(tmp_path):
    scheduler = SchedulerConfig(num_train_timesteps=10)
    assert len(finish(make_run(tmp_path, scheduler=scheduler))) == OPTIONS.steps
