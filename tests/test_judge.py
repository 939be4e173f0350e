"""How the bundled digits are judged."""

import pytest
import torch
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.models.__main__ import main
from comfyui_unconditional.models.judge import as_saved, compare, unanimous_votes
from comfyui_unconditional.unet.unet2d import UNet2D
from training_toys import SCHEDULER, UNET


def test_only_a_model_of_digits_can_be_judged(tmp_path, capsys):
    save_model(tmp_path, UNet2D(UNET).state_dict(), UNET, SCHEDULER)
    assert main(["judge", str(tmp_path)]) == 1
    assert "8 x 8 pixels and 1 channel. Only digit models" in capsys.readouterr().err


def test_copies_of_real_digits_are_recognised_as_copies():
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


def test_between_two_digits_the_vote_is_split_and_the_nearer_one_wins():
    images = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.9, 0.95]).reshape(-1, 1, 1, 1)
    labels = torch.tensor([7, 4, 4, 7, 2, 2])
    judgement = compare(torch.zeros(1, 1, 16, 16), images.expand(-1, 1, 16, 16), labels)
    assert judgement.unanimous == 0
    assert judgement.shares[7] == 1


def test_samples_are_judged_as_saved_pictures():
    x = torch.tensor([-3.0, -1.0, 0.001, 1.0, 2.0])
    expected = torch.tensor([-1, -1, 1 / 255, 1, 1])
    torch.testing.assert_close(as_saved(x), expected, rtol=0, atol=1e-6)


def test_a_digit_that_is_left_out_has_no_vote():
    images = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    sample = images[5:]
    assert unanimous_votes(sample, images, labels, without=torch.tensor([5])) == 1
    assert unanimous_votes(sample, images, labels, without=torch.tensor([0])) == 0
