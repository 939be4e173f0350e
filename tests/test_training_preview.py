"""Images that are drawn during a run."""

from dataclasses import replace

import pytest
import torch
from comfyui_unconditional.training import preview
from comfyui_unconditional.training.plan import SCHEDULER as NEW_MODELS
from comfyui_unconditional.training.preview import EVALUATIONS, draw
from comfyui_unconditional.unet.unet2d import UNet2D
from torch import Tensor
from training_toys import OPTIONS, SCHEDULER, UNET, assert_same_state, finish, make_run

SIZE = (8, 8)


def test_previews_do_not_disturb_the_run(tmp_path):
    options = replace(OPTIONS, steps=3, augment=0.5, dropout=0.3)
    finish(plain := make_run(tmp_path / "plain", options))
    watched = make_run(tmp_path / "watched", options)
    for _ in watched.run():
        for network in (watched.network, watched.averaged):
            draw(network, SCHEDULER, SIZE, range(2))
    assert_same_state(watched, plain)


def test_previews_of_the_same_weights_are_the_same(tmp_path):
    finish(run := make_run(tmp_path, replace(OPTIONS, dropout=0.3)), 2)
    for network in (run.network, run.averaged):
        first = draw(network, SCHEDULER, SIZE, (3, 5))
        torch.rand(7)
        assert torch.equal(draw(network, SCHEDULER, SIZE, (3, 5)), first)


def test_a_preview_keeps_the_mode_of_the_network(tmp_path):
    finish(run := make_run(tmp_path), 1)
    draw(run.network, SCHEDULER, SIZE, [0])
    draw(run.averaged, SCHEDULER, SIZE, [0])
    assert run.network.training
    assert not run.averaged.training


def test_an_image_of_a_new_model_takes_20_evaluations_each_of_which_can_be_cancelled():
    evaluations, asked = [], []
    network = UNet2D(UNET)
    network.register_forward_hook(lambda *_: evaluations.append(1))
    images = draw(network, NEW_MODELS, SIZE, [0, 1], check_cancelled=lambda: asked.append(1))
    assert len(evaluations) == len(asked) == EVALUATIONS == 20
    assert images.shape == (2, 1, 8, 8)
    assert images.abs().max() <= 1

    def cancel() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(network, SCHEDULER, SIZE, [0], check_cancelled=cancel)
    assert network.training


@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
def test_an_image_does_not_depend_on_the_others_in_its_batch(monkeypatch, at_once):
    network = UNet2D(UNET)
    alone = torch.cat([draw(network, SCHEDULER, SIZE, [seed]) for seed in range(5)])
    parts: list[int] = []
    forward = network.forward

    def counted(x: Tensor, t: Tensor) -> Tensor:
        parts.append(len(x))
        return forward(x, t)

    network.forward = counted
    monkeypatch.setattr(preview, "fastest_part", lambda *_: at_once)
    together = draw(network, SCHEDULER, SIZE, range(5))
    assert max(parts) <= at_once
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)


def test_a_schedule_of_few_timesteps_can_be_drawn():
    images = draw(UNet2D(UNET), replace(SCHEDULER, num_train_timesteps=7), SIZE, [0])
    assert images.isfinite().all()
