"""The networks chosen for the user's pictures."""

import pytest
import torch
from comfyui_unconditional.models.digits import UNET
from comfyui_unconditional.training.network import default_unet, size_multiple
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from diffusers.models.unets.unet_2d import UNet2DModel
from float64 import compare_networks

NETWORKS = ("small", "medium", "large")


def parameters(config: UNetConfig) -> int:
    return sum(p.numel() for p in UNet2D(config, device="meta").parameters())


def has_attention(config: UNetConfig) -> list[bool]:
    assert [kind.replace("Up", "Down") for kind in reversed(config.up_block_types)] == [
        *config.down_block_types
    ]
    return ["Attn" in kind for kind in config.down_block_types]


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (8, (64, 128, 192)),
        (28, (64, 128, 192)),
        (32, (128, 256, 256, 256)),
        (64, (128, 128, 256, 256, 512, 512)),
        ((64, 96), (128, 128, 256, 256, 512, 512)),
    ],
)
def test_the_default_network_suits_the_size(size, widths):
    config = default_unet(size, 3)
    assert config.block_out_channels == widths
    assert config.layers_per_block == 2
    assert UNetConfig.from_dict(config.to_dict()) == config


def test_the_default_network_for_large_pictures_has_the_blocks_of_diffusers():
    config = default_unet(128, 3)
    down = ["DownBlock2D"] * 6
    down[4] = "AttnDownBlock2D"
    up = ["UpBlock2D"] * 6
    up[1] = "AttnUpBlock2D"
    assert config.down_block_types == tuple(down)
    assert config.up_block_types == tuple(up)


def test_a_small_network_for_16_pixels_is_like_that_of_the_digits():
    ours = default_unet(16, 1, "small")
    assert ours.block_out_channels == UNET.block_out_channels
    assert ours.down_block_types == UNET.down_block_types
    assert parameters(ours) == parameters(UNET)


@pytest.mark.parametrize(
    ("network", "size", "millions"),
    [
        ("small", 32, 1.74),
        ("small", 64, 3.60),
        ("small", 256, 6.87),
        ("medium", 32, 9.99),
        ("medium", 64, 20.8),
        ("medium", 256, 40.5),
        ("large", 16, 9.99),
        ("large", 32, 35.7),
        ("large", 256, 113.7),
    ],
)
def test_a_network_has_as_many_parameters_as_its_description_says(network, size, millions):
    assert parameters(default_unet(size, 3, network)) / 1e6 == pytest.approx(millions, rel=0.003)


@pytest.mark.parametrize("network", ["small", "medium"])
@pytest.mark.parametrize(
    ("size", "level"),
    [(8, 1), (16, 1), (32, 1), (48, 2), (64, 2), (72, 3), ((64, 128), 3), (128, 3), (256, 4)],
)
def test_attention_is_on_the_first_level_of_at_most_16_pixels(network, size, level):
    config = default_unet(size, 3, network)
    assert has_attention(config).index(True) == level
    assert sum(has_attention(config)) == 1
    h, w = config.size
    assert (h >> level) * (w >> level) <= 256


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [16, 32, 64, (64, 96)])
@pytest.mark.parametrize("attention", [True, False])
def test_every_network_is_usable_in_every_allowed_width(network, size, attention):
    for width in (None, *range(32, 257, 32)):
        config = default_unet(size, 4, network, width=width, attention=attention)
        assert UNetConfig.from_dict(config.to_dict()) == config
        config.check_size(*config.size)
        assert all(width % config.norm_num_groups == 0 for width in config.block_out_channels)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_chosen_size_up_to_64_pixels_fits_each_network(network):
    sides = range(8, 65, size_multiple(network))
    for h in sides:
        for w in sides:
            for attention in (True, False):
                default_unet((h, w), 3, network, attention=attention)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_without_attention_has_none_anywhere_and_is_the_same_in_diffusers(network):
    config = default_unet(32, 3, network, width=32, attention=False)
    assert not any(has_attention(config))
    ours = UNet2D(config)
    assert not any("attention" in name for name in ours.state_dict())
    fields = config.to_dict()
    del fields["_class_name"]
    theirs = UNet2DModel(**fields)
    theirs.load_state_dict(ours.state_dict())
    g = torch.Generator().manual_seed(0)
    for size in ((32, 32), (16, 64)):
        x, t = torch.randn(1, 3, *size, generator=g), torch.tensor([500])
        comparison, apart = compare_networks(ours, theirs, x, t)
        assert comparison.holds
        assert apart < 1e-12


def test_without_attention_small_networks_draw_any_multiple_of_4():
    for network in ("small", "medium"):
        for size in (36, 100, 260):
            assert default_unet(size, 3, network, attention=False).size_multiple == 4


@pytest.mark.parametrize("size", [4, 30, 36, 80, (64, 70), 0])
def test_a_size_that_cannot_be_halved_is_rejected_with_those_that_can(size):
    with pytest.raises(ValueError, match=r"multiples of 32 from 64 on|at least 1 pixel"):
        default_unet(size, 3)
    with pytest.raises(ValueError, match="must be a multiple of 32, not 40"):
        default_unet(64, 3, width=40)


def test_the_message_about_a_size_names_those_of_the_chosen_network():
    expected = "multiples of 4 from 8 to 60, multiples of 8 from 64 to 120"
    with pytest.raises(ValueError, match=expected):
        default_unet(68, 3, "small")
    with pytest.raises(ValueError, match=r"multiples of 4 from 8 on"):
        default_unet(70, 3, "medium", attention=False)
