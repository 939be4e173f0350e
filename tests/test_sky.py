import sys
from dataclasses import replace
from math import inf
from types import ModuleType

import pytest
import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.models import deep_field
from comfyui_unconditional.models.__main__ import main
from comfyui_unconditional.models.sky import Judgement, Look, compare, judge, to_bytes
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.schedulers.ddpm import DDPM
from comfyui_unconditional.schedulers.noise_schedule import NoiseSchedule
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.training.copying import Copying
from comfyui_unconditional.training.plan import SCHEDULER
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from diffusers import UNet2DModel
from float64 import compare_evaluations, widened
from ours import DEEP_FIELD
from torch.nn import functional as F
from training_toys import UNET as GREY

UNKNOWN = Copying.of(torch.empty(0), torch.empty(0))
RGB = replace(GREY, in_channels=3, out_channels=3)


def dark(n: int, height: int, width: int) -> torch.Tensor:
    return torch.full((n, 3, height, width), 20, dtype=torch.uint8)


def picture() -> torch.Tensor:
    """80 x 96 pixels of sky, with a galaxy of 4 x 4 on each 16 x 16."""
    sky = dark(1, 80, 96)
    for row in range(6, 80, 16):
        for column in range(6, 96, 16):
            sky[..., row : row + 4, column : column + 4] = 200
    return sky


# Bright objects


def test_an_object_has_more_than_ten_connected_bright_pixels():
    skies = dark(2, 16, 16)
    skies[0, :, 2, 2:12] = 200  # 10 pixels
    skies[0, :, 5, 2:13] = 200  # 11
    skies[1, :, 8:12, 2:5] = 200  # 12
    skies[1, :, 12:15, 5:8] = 200  # 9, which touches the last one at a corner only
    assert Look.of(skies).objects == pytest.approx(2 / (2 * 16 * 16) * 1e6)


def test_two_specks_at_the_same_place_of_two_skies_are_not_an_object():
    skies = dark(2, 16, 16)
    skies[:, :, 2, 2:9] = 200
    assert Look.of(skies).objects == 0


def test_the_brightness_of_an_object_is_its_luminance():
    blue = dark(1, 16, 16)
    blue[:, 2, 4:8, 4:8] = 255  # 47 of 255
    green = dark(1, 16, 16)
    green[:, 1, 4:8, 4:8] = 255  # 158
    assert Look.of(blue).objects == 0
    assert Look.of(green).objects > 0


# Comparison


def test_a_picture_compared_with_its_own_crops_is_good():
    own = picture()
    skies = torch.cat([own[..., :64, :64], own[..., 16:, 32:]])
    judgement = compare(skies, own)
    assert judgement.farthest_mean == 0
    assert judgement.farthest_deviation == pytest.approx(0, abs=1e-6)
    assert judgement.objects_factor == 1
    assert judgement.is_good


@pytest.mark.parametrize(
    ("change", "mean", "deviation", "objects"),
    [
        (lambda sky: sky + torch.tensor([0, 0, 5])[:, None, None], 5, 0, 1),  # a blue veil
        (lambda sky: (sky + 20) // 2, 5.625, 0.5, 1),  # pale galaxies
        (lambda sky: sky.clamp(max=60), 8.75, 0.78, inf),  # no bright ones
    ],
)
def test_skies_that_differ_are_not_good(change, mean, deviation, objects):
    skies = change(picture()[..., :64, :64].int()).byte()
    judgement = compare(skies, picture())
    assert judgement.farthest_mean == pytest.approx(mean, abs=0.05)
    assert judgement.farthest_deviation == pytest.approx(deviation, abs=0.01)
    assert judgement.objects_factor == objects
    assert not judgement.is_good


def test_the_factor_between_objects_is_the_same_for_too_few_and_too_many():
    few, many = (Look((20,) * 3, (30,) * 3, objects) for objects in (200, 500))
    for drawn, real in ((few, many), (many, few)):
        assert Judgement(drawn, real, (UNKNOWN, UNKNOWN)).objects_factor == 2.5


def test_values_out_of_range_are_clamped_as_in_a_saved_picture():
    x = torch.tensor([-3, -1, 0.001, 1, 2])
    assert to_bytes(x).tolist() == [0, 0, 128, 255, 255]


def test_a_sky_whose_galaxies_are_copied_is_a_copy_in_its_quarters():
    g = torch.Generator().manual_seed(0)
    own = torch.randint(256, (1, 3, 12, 16), generator=g).float()
    own = F.interpolate(own, scale_factor=8, mode="bicubic").clamp(0, 255).byte()
    # Each quarter is another mirrored part of the picture, 32 x 32 of 96 x 128 pixels.
    corners = torch.randint(64, (64, 2), generator=g).tolist()
    parts = [own[..., y : y + 32, x : x + 32].flip(-1) for y, x in corners]
    rows = [torch.cat(parts[i : i + 2], -1) for i in range(0, 64, 2)]
    skies = torch.cat([torch.cat(rows[i : i + 2], -2) for i in range(0, 32, 2)])
    wholes, quarters = compare(skies, own).copying
    assert quarters.is_copying
    assert quarters.copies == quarters.samples == 64
    assert not wholes.is_copying


# The model


def test_deep_field_has_no_attention_and_fits_into_seven_megabytes():
    config = deep_field.UNET
    assert UNetConfig.from_dict(config.to_dict()) == config
    network = UNet2D(config)
    assert not any("attention" in name for name, _ in network.named_modules())
    assert sum(weight.numel() for weight in network.parameters()) * 4 < 6.95e6


@pytest.mark.parametrize("steps", [10, 20, 50, 100, 1000])
def test_deep_field_is_drawn_from_its_noisiest_timestep(steps):
    for sampler in (PNDM, DDPM):
        assert sampler.over(SCHEDULER, Stretch(steps)).span.timesteps[0] == 999


def test_a_dark_sky_leaves_no_trace_in_the_noise_that_deep_field_is_drawn_from():
    left = NoiseSchedule.from_config(SCHEDULER).alphas_cumprod[-1].sqrt().item()
    of_noise = 1 / deep_field.UNET.size[0]  # the standard deviation of the mean of H x W values
    assert 0.85 * left < of_noise / 20


def test_the_bundled_model_has_the_network_and_schedule_of_its_training():
    checkpoint = read_checkpoint(find_files(DEEP_FIELD))
    assert checkpoint.config == deep_field.UNET
    assert checkpoint.scheduler
    assert SchedulerConfig.from_dict(checkpoint.scheduler) == SCHEDULER


@pytest.mark.parity
def test_an_evaluation_of_the_bundled_model_at_another_size_is_that_of_diffusers(parity):
    network = read_checkpoint(find_files(DEEP_FIELD)).build(UNet2D)
    theirs = UNet2DModel.from_pretrained(DEEP_FIELD / "unet").eval()
    x = torch.randn(1, 3, 40, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = widened(theirs)(x.double(), 500).sample
        result = compare_evaluations(network(x, 500), theirs(x, 500).sample, exact)
    parity("deep-field, 96 x 40", result)


def test_the_picture_of_deep_field_is_dark_and_has_scikit_images_size():
    picture = deep_field.pictures()
    assert picture.shape == (1, 3, 872, 1000)
    means = picture.float().mean((0, 2, 3)).tolist()
    assert means == pytest.approx([18.6, 19.8, 19.1], abs=0.5)


@pytest.mark.slow
def test_the_bundled_model_draws_skies_that_are_as_dark_as_its_picture():
    # So few skies vary; the 256 of the model's card must be within 3. Clipped skies are 95 away.
    judgement = judge(DEEP_FIELD, deep_field.pictures(), sampler="DDIM", steps=20, skies=8)
    assert judgement.farthest_mean < 10
    assert judgement.drawn.objects > 0


# Commands


def test_the_command_judges_a_model_of_any_training_size(tmp_path, monkeypatch, capsys):
    data = ModuleType("skimage.data")
    data.hubble_deep_field = lambda: picture()[0].permute(1, 2, 0).numpy()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "skimage.data", data)
    torch.manual_seed(0)
    save_model(tmp_path, UNet2D(RGB).state_dict(), RGB, SCHEDULER)
    few = ["--skies", "2", "--steps", "2", "--sampler", "DDIM"]
    assert main(["sky", str(tmp_path), *few]) == 0
    said = capsys.readouterr().out
    assert "(picture: 31.2, 31.2, 31.2)" in said
    assert "Bright objects of more than 10 pixels" in said


def test_only_a_model_of_three_channels_can_be_judged(tmp_path):
    save_model(tmp_path, UNet2D(GREY).state_dict(), GREY, SCHEDULER)
    with pytest.raises(ValueError, match=r"has 1 channel\. Only models of skies"):
        judge(tmp_path, picture())
