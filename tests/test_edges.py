"""Joined edges: a network computes on a torus, and what it draws tiles without a seam."""

import random
from typing import Any

import pytest
import torch
import toys
from comfyui_unconditional.lucidrains.config import LucidrainsConfig
from comfyui_unconditional.lucidrains.network import LucidrainsUNet
from comfyui_unconditional.networks import convolution, winograd
from comfyui_unconditional.networks.base import Network
from comfyui_unconditional.networks.convolution import FastConvolution
from comfyui_unconditional.networks.edges import Edges
from comfyui_unconditional.networks.placement import place_weights
from comfyui_unconditional.networks.prepared import PreparedWeights
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from torch import Tensor, nn
from torch.nn import functional as F

CPU = torch.device("cpu")
RESNETS = {
    "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D"],
}
LUCIDRAINS: dict[str, Any] = {
    **{"sample_size": 16, "dim": 8, "init_dim": 8, "block_out_channels": [8, 16, 16]},
    **{"full_attn": [False, False, True], "attn_heads": [2] * 3, "attn_dim_head": [4] * 3},
}
NETWORKS: dict[str, tuple[type[Network], Any]] = {
    "asymmetric padding": (UNet2D, toys.TINY),
    "symmetric padding": (UNet2D, {**toys.TINY, "downsample_padding": 1}),
    "resnets that resample": (UNet2D, {**toys.TINY, **RESNETS}),
    "NCSN++": (UNet2D, toys.NCSNPP),
    "lucidrains": (LucidrainsUNet, LUCIDRAINS),
    "lucidrains, strided": (LucidrainsUNet, {**LUCIDRAINS, "strided_downsampling": True}),
}


def make(name: str) -> Network:
    torch.manual_seed(0)
    network, fields = NETWORKS[name]
    config = UNetConfig if network is UNet2D else LucidrainsConfig
    return place_weights(network(config.from_dict(fields)).eval(), CPU)


@torch.inference_mode()
def predict(network: Network, image: Tensor, **joined: bool) -> Tensor:
    with network.edges.joined(**{"x": False, "y": False} | joined):
        return network(image, 7)


def every_layer_is_fast(monkeypatch):
    monkeypatch.setattr(convolution, "_LEAST_CHANNELS_IN_ORDER", 1)
    monkeypatch.setattr(winograd, "least_channels", lambda: 1)


@pytest.mark.parametrize("fast", [False, True], ids=["layers", "fast filters"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_shifted_input_gives_a_shifted_output(name, fast, monkeypatch):
    if fast:
        every_layer_is_fast(monkeypatch)
    network = make(name)
    stride = network.config.size_multiple
    x = torch.randn(2, 3, 2 * stride, 3 * stride)
    for joined, shifts, dims in (
        ({"x": True}, (stride,), (3,)),
        ({"y": True}, (stride,), (2,)),
        ({"x": True, "y": True}, (stride, 2 * stride), (2, 3)),
    ):
        expected = predict(network, x, **joined).roll(shifts, dims)
        found = predict(network, x.roll(shifts, dims), **joined)
        assert (found - expected).abs().max() < 1e-5
        # The test can fail: with zeros, or the other edges joined, it does not hold.
        plain = predict(network, x).roll(shifts, dims)
        assert (predict(network, x.roll(shifts, dims)) - plain).abs().max() > 1e-3


@pytest.mark.parametrize("way", ["tiles", "in order", "enlarged"])
@pytest.mark.parametrize("seed", range(10))
def test_fast_filters_convolve_across_the_joined_edges(seed, way, monkeypatch):
    enlarges = way == "enlarged"
    every_layer_is_fast(monkeypatch)
    monkeypatch.setattr(convolution, "_LEAST_TILES", 1 if way == "tiles" else 10**9)
    draw = random.Random(seed)
    torch.manual_seed(seed)
    layer, edges = nn.Conv2d(draw.randint(1, 40), draw.randint(1, 40), 3, padding=1), Edges()
    x = torch.randn(draw.randint(1, 3), layer.in_channels, draw.randint(1, 19), draw.randint(1, 19))
    fast = FastConvolution(layer, PreparedWeights(), enlarges=enlarges, edges=edges)
    for joined in ({"x": True, "y": True}, {"x": False, "y": True}, {"x": True, "y": False}) * 2:
        with torch.inference_mode(), edges.joined(**joined):
            found = fast(x, layer.weight, layer.bias)
        y = F.interpolate(x, scale_factor=2.0, mode="nearest") if enlarges else x
        for axis, name in ((3, "x"), (2, "y")):
            pads = (1, 1, 0, 0) if axis == 3 else (0, 0, 1, 1)
            y = F.pad(y, pads, mode="circular" if joined[name] else "constant")
        expected = F.conv2d(y.double(), layer.weight.double(), layer.bias.double())
        assert found.shape == expected.shape
        assert (found - expected).abs().max() / expected.abs().max() < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_stays_joined_after_an_error(name):
    network = make(name)
    x = torch.randn(1, 3, 16, 16)
    before = predict(network, x)
    assert not torch.equal(predict(network, x, x=True, y=True), before)
    with pytest.raises(RuntimeError):
        predict(network, x[:, :2], x=True, y=True)  # a channel is missing
    assert torch.equal(predict(network, x), before)
