"""The training plan for the user's choices."""

from dataclasses import replace

import pytest
import torch
from comfyui_unconditional.training.network import default_unet
from comfyui_unconditional.training.picture_set import PictureSet
from comfyui_unconditional.training.plan import FEW_PICTURES, SCHEDULER, Plan, Start
from comfyui_unconditional.training.processes import Processes, default_device
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from torch import Tensor
from training_toys import OPTIONS, UNET, noise_pictures


def many_pictures(n: int) -> PictureSet:
    return PictureSet([noise_pictures(1).pixels[0]] * n, (8, 8))


@pytest.mark.parametrize(
    ("n", "small_data", "few"),
    [
        (5, "auto", True),
        (FEW_PICTURES - 1, "auto", True),
        (FEW_PICTURES, "auto", False),
        (FEW_PICTURES, "on", True),
        (5, "off", False),
    ],
)
def test_few_pictures_are_augmented_and_dropped_out(n, small_data, few):
    plan = Plan.make(many_pictures(n), OPTIONS, small_data=small_data)
    expected = replace(OPTIONS, augment=0.12, dropout=0.1) if few else OPTIONS
    assert plan.options == expected


@pytest.mark.parametrize("network", ["small", "medium", "large", 32])
def test_a_network_is_chosen_by_name_or_as_the_width_of_a_large_one(network):
    plan = Plan.make(noise_pictures(), OPTIONS, network=network)
    named = {"width": 32} if network == 32 else {}
    assert plan.unet == default_unet((8, 8), 1, "large" if named else network, **named)
    assert plan.scheduler == SCHEDULER


@pytest.mark.parametrize("network", ["small", 32])
def test_a_network_for_random_crops_has_no_attention(network):
    crops = PictureSet(noise_pictures().pixels, (8, 8), "random")
    for pictures, attention in ((crops, False), (noise_pictures(), True)):
        unet = UNet2D(Plan.make(pictures, OPTIONS, network=network).unet, device="meta")
        assert any("attention" in name for name in unet.state_dict()) == attention


def start(unet: UNetConfig = UNET) -> Start:
    torch.manual_seed(3)
    scheduler = replace(SCHEDULER, beta_schedule="squaredcos_cap_v2")
    return Start(unet, scheduler, UNet2D(unet).state_dict(), "a model")


@pytest.mark.parametrize(("small_data", "few"), [("auto", False), ("on", True), ("off", False)])
def test_an_existing_model_is_only_augmented_if_that_is_chosen(small_data, few):
    plan = Plan.make(noise_pictures(), OPTIONS, small_data=small_data, start=start())
    assert bool(plan.options.augment) == bool(plan.options.dropout) == few


@pytest.mark.parametrize(
    ("shape", "sample_size"), [((1, 8, 8), 8), ((1, 16, 16), 16), ((1, 8, 16), (8, 16))]
)
def test_a_start_keeps_its_network_and_schedule_and_takes_the_pictures_size(
    tmp_path, shape, sample_size
):
    own = start(replace(UNET, dropout=0.3))
    plan = Plan.make(noise_pictures(shape=shape), OPTIONS, network="large", start=own)
    assert plan.unet == replace(UNET, sample_size=sample_size)
    assert plan.scheduler == own.scheduler
    assert plan.settings["start"] == "a model"
    run = plan.begin(tmp_path, Processes(default_device()))
    found: dict[str, Tensor] = run.network.state_dict()
    assert all(torch.equal(found[name].cpu(), value) for name, value in own.weights.items())


def test_a_start_for_other_channels_is_rejected(tmp_path):
    plan = Plan.make(noise_pictures(shape=(3, 8, 8)), OPTIONS, start=start())
    with pytest.raises(ValueError, match="have 3 channels, but the network takes 1"):
        plan.begin(tmp_path, Processes(torch.device("cpu")))


def test_the_settings_of_a_plan_are_those_of_its_run(tmp_path):
    plan = Plan.make(noise_pictures(), OPTIONS, network=32)
    run = plan.begin(tmp_path, Processes(torch.device("cpu")))
    assert plan.settings == run._settings
    again = Plan.make(noise_pictures(9), replace(OPTIONS, steps=99), network=32)
    assert again.settings == plan.settings
    other = Plan.make(noise_pictures(), OPTIONS, network=64)
    assert other.settings != plan.settings
