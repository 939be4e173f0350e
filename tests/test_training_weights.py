"""The weights that training changes: those in training, their average, and what is saved."""

from dataclasses import replace

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.training.options import TrainingOptions
from comfyui_unconditional.unet.unet2d import UNet2D
from torch import Tensor
from training_toys import OPTIONS, UNET, finish, make_run

SMALL_DATA = replace(OPTIONS, augment=0.5, dropout=0.1)


def inputs() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, 8, 8, generator=g), torch.tensor([3, 900])


def test_the_averaged_weights_follow_the_power_function(tmp_path):
    """The closed form of Karras et al. 2024, eq. 1: step i has the weight by which i^(gamma + 1)
    grows."""
    options = replace(OPTIONS, steps=9, learning_rate=0.01)
    run = make_run(tmp_path, options)
    names = [name for name, _ in run.network.named_parameters()]
    seen = []
    for _ in run.run():
        seen.append({name: run.network.state_dict()[name].double() for name in names})
        n, power = len(seen), options.average_gamma + 1
        shares = [((i + 1) / n) ** power - (i / n) ** power for i in range(n)]
        for name, average in run.averaged.named_parameters():
            mean = sum(share * weights[name] for share, weights in zip(shares, seen, strict=True))
            torch.testing.assert_close(average.double(), mean, rtol=1e-5, atol=1e-6)
            if n == 1:
                assert torch.equal(average, run.network.state_dict()[name])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_averaged_network_computes_with_its_own_weights(tmp_path, checkpointing):
    options = replace(OPTIONS, learning_rate=0.1, checkpointing=checkpointing)
    finish(run := make_run(tmp_path, options))
    network = UNet2D(UNET).eval()
    network.load_state_dict(run.averaged.state_dict())
    x, t = inputs()
    with torch.no_grad():
        torch.testing.assert_close(run.averaged(x, t), network(x, t))


def test_the_saved_model_is_the_average_without_what_only_training_needs(tmp_path):
    run = make_run(tmp_path, replace(SMALL_DATA, learning_rate=0.05))
    assert run.model.labels is not None
    assert not run.model.labels.weight.any()
    finish(run)
    assert run.model.labels.weight.any()

    checkpoint = read_checkpoint(find_files(tmp_path))
    assert checkpoint.config == UNET
    assert checkpoint.weights.keys() == UNet2D(UNET).state_dict().keys()
    x, t = inputs()
    with torch.no_grad():
        saved = checkpoint.build(UNet2D)(x, t)
        torch.testing.assert_close(saved, run.averaged(x, t))

        # And the network in training, without labels, computes the same as its weights alone.
        alone = UNet2D(UNET).eval()
        alone.load_state_dict(run.network.state_dict())
        run.model.eval()
        torch.testing.assert_close(run.model(x, t), alone(x, t))
        torch.testing.assert_close(run.model(x, t, torch.zeros(2, 9)), alone(x, t))
        labels = torch.zeros(2, 9)
        labels[0, 0] = 1
        mirrored, other = run.model(x, t, labels)
        assert not torch.allclose(mirrored, alone(x, t)[0], atol=1e-3)
        torch.testing.assert_close(other, alone(x, t)[1])


def test_dropout_is_only_in_the_network_that_trains(tmp_path):
    finish(run := make_run(tmp_path, replace(OPTIONS, dropout=0.5)), 1)
    x, t = inputs()
    with torch.no_grad():
        assert not torch.equal(run.network(x, t), run.network(x, t))
        assert torch.equal(run.averaged(x, t), run.averaged(x, t))


@pytest.mark.parametrize("options", [TrainingOptions(steps=1), SMALL_DATA])
def test_training_leaves_the_callers_random_numbers_alone(tmp_path, options):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    finish(make_run(tmp_path, options), stop_after=1)
    assert torch.equal(torch.rand(3), expected)


def test_checkpointing_changes_no_weight(tmp_path):
    finish(plain := make_run(tmp_path / "plain", SMALL_DATA))
    finish(again := make_run(tmp_path / "again", replace(SMALL_DATA, checkpointing=True)))
    for name, value in plain.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)


def test_bfloat16_trains_about_the_same_weights_which_stay_float32(tmp_path):
    exact = make_run(tmp_path / "exact")
    losses = finish(exact)
    run = make_run(tmp_path / "run", replace(OPTIONS, precision="bfloat16"))
    assert finish(run) == pytest.approx(losses, rel=0.02)
    assert {value.dtype for value in run.model.parameters()} == {torch.float32}
