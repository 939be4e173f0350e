"""One step of training, and the networks that it changes."""

import pytest
import torch
from comfyui_unconditional.training.options import TrainingOptions
from comfyui_unconditional.unet.unet2d import UNet2D
from training_toys import UNET, finish, make_run

SMALL_DATA = TrainingOptions(steps=4, batch_size=4, warmup_steps=2, augment=0.5, dropout=0.1)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_averaged_network_computes_with_its_own_weights(tmp_path, checkpointing):
    options = TrainingOptions(steps=4, batch_size=4, learning_rate=0.1, checkpointing=checkpointing)
    run = make_run(tmp_path, options)
    finish(run)
    network = UNet2D(UNET).eval()
    network.load_state_dict(run.averaged.state_dict())
    g = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 1, 8, 8, generator=g), torch.tensor([3, 900])
    with torch.no_grad():
        torch.testing.assert_close(run.averaged(x, t), network(x, t))


@pytest.mark.parametrize("options", [TrainingOptions(steps=1), SMALL_DATA])
def test_training_leaves_the_callers_random_numbers_alone(tmp_path, options):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    finish(make_run(tmp_path, options), stop_after=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_random_number_that_rounds_up_to_1_draws_the_last_timestep(tmp_path, monkeypatch):
    run = make_run(tmp_path, TrainingOptions(steps=1, batch_size=64))
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 1 - 2**-24))
    finish(run)
    assert run.step == 1
