"""Convolutions with fast filters: their exactness, their weights, and their memory."""

import copy
import gc
import random
import weakref

import pytest
import torch
import toys
from comfyui_unconditional.networks import convolution, prepared, winograd
from comfyui_unconditional.networks.convolution import FastConvolution, accelerate
from comfyui_unconditional.networks.edges import Edges
from comfyui_unconditional.networks.enlarging import EnlargingConvolution
from comfyui_unconditional.networks.placement import bytes_to_make, place_weights
from comfyui_unconditional.networks.prepared import PreparedWeights
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import distances, widened
from torch import nn
from torch.nn import functional as F

CPU = torch.device("cpu")
WIDE = {"block_out_channels": [64, 128], "norm_num_groups": 32, "sample_size": 16}


@pytest.fixture(autouse=True)
def every_size_is_fast(monkeypatch):
    """All shapes here are small."""
    monkeypatch.setattr(convolution, "_LEAST_CHANNELS_IN_ORDER", 1)
    monkeypatch.setattr(winograd, "least_channels", lambda: 1)


def exact(layer, x, *, enlarges):
    x = F.interpolate(x, scale_factor=2.0, mode="nearest") if enlarges else x
    bias = None if layer.bias is None else layer.bias.double()
    return F.conv2d(x.double(), layer.weight.double(), bias, padding=layer.padding)


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("way", ["tiles", "tiles, no oneDNN", "in order", "1x1", "enlarged"])
@pytest.mark.parametrize("seed", range(25))
def test_any_shape_is_convolved_exactly(seed, way, monkeypatch):
    draw, enlarges, kernel = random.Random(seed), way == "enlarged", 1 if way == "1x1" else 3
    monkeypatch.setattr(convolution, "_LEAST_TILES", 1 if "tiles" in way else 10**9)
    if "no" in way:
        monkeypatch.setattr(prepared, "has_kernels", lambda: False)
    # Blocks of a few tiles, of a few images, and of all.
    monkeypatch.setattr(winograd, "_LEAST_AT_ONCE", draw.choice([1, 8, 64]))
    monkeypatch.setattr(winograd, "_VALUES_AT_ONCE", draw.choice([1, 10**3, 10**6]))
    torch.manual_seed(seed)
    channels, out = draw.randint(1, 70), draw.randint(1, 70)
    shape = draw.randint(1, 5), channels, draw.randint(1, 19), draw.randint(1, 19)
    layer = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=draw.random() < 0.8)
    x = torch.randn(shape)
    if draw.random() < 0.5:
        x = x.contiguous(memory_format=torch.channels_last)
    fast = FastConvolution(layer, PreparedWeights(), enlarges=enlarges)
    with torch.inference_mode():
        found, expected = fast(x, layer.weight, layer.bias), exact(layer, x, enlarges=enlarges)
        assert found.shape == expected.shape
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert relative(found, expected) < 1e-5
    assert fast.bytes_to_make == 0


@pytest.mark.parity
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "fields",
    [toys.CIFAR, toys.CAT, toys.TRAINED, toys.NCSNPP],
    ids=["cifar", "cat", "64", "ncsnpp"],
)
def test_a_network_with_fast_filters_predicts_the_same(fields, batch):
    torch.manual_seed(0)
    network = UNet2D(UNetConfig.from_dict(fields)).eval()
    x = torch.randn(batch, 3, 32, 64)
    with torch.inference_mode():
        expected, wide = network(x, 7), widened(network)(x.double(), 7)
        accelerate(network, PreparedWeights())
        found = network(x, 7)
        assert not torch.equal(found, expected)
    assert max(distances(found, wide)) < 5e-6


def wide_network():
    torch.manual_seed(0)
    config = UNetConfig.from_dict({**toys.TINY, **WIDE})
    return place_weights(UNet2D(config).eval().requires_grad_(False), CPU)


def predict(network):
    torch.manual_seed(1)
    with torch.inference_mode():
        return network(torch.randn(4, 3, 16, 16), 7)


def replaced(network, factor):
    """As in the host's patching: every weight becomes another parameter."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight = nn.Parameter(module.weight * factor, requires_grad=False)


def moved(network, factor):
    """As in `Module.to`: the parameter stays, its data is replaced."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight * factor


@pytest.mark.parametrize("change", [replaced, moved])
def test_replaced_weights_act_at_once_and_are_gone_when_they_are_put_back(change):
    network, plain = wide_network(), wide_network()
    before = predict(network)
    originals = {name: p.data for name, p in network.named_parameters()}
    change(network, 1.5)
    change(plain, 1.5)  # before it first runs
    assert torch.equal(predict(network), predict(plain))
    assert not torch.equal(predict(network), before)
    for name, parameter in network.named_parameters():
        parameter.data = originals[name]
    assert torch.equal(predict(network), before)


def test_a_weight_for_one_call_is_used_directly():
    layer = nn.Conv2d(64, 64, 3, padding=1)
    fast = FastConvolution(layer, PreparedWeights(), enlarges=False)
    x = torch.randn(2, 64, 32, 32)
    with torch.inference_mode():
        fast(x, layer.weight, layer.bias)
        other = layer.weight * 2
        assert torch.equal(fast(x, other, layer.bias), F.conv2d(x, other, layer.bias, padding=1))
        half = layer.weight.bfloat16()
        found = fast(x.bfloat16(), half, layer.bias.bfloat16())
        assert found.dtype == torch.bfloat16


def test_filters_are_made_again_for_another_size_only():
    layer = nn.Conv2d(64, 64, 3, padding=1)
    fast, made = FastConvolution(layer, PreparedWeights(), enlarges=False), []
    with torch.inference_mode():
        # 16 and 64 tiles at once; of 16 x 64 pixels 64 again.
        for size in ((16, 16), (32, 32), (16, 64)):
            fast(torch.randn(1, 64, *size), layer.weight, layer.bias)
            made.append(fast._filters.value)
    assert made[0] is not made[1] is made[2]


def test_while_weights_are_written_to_the_layers_convolve_directly():
    settings, layer = PreparedWeights(), nn.Conv2d(64, 64, 3, padding=1)
    fast, x = FastConvolution(layer, settings, enlarges=False), torch.randn(2, 64, 32, 32)
    with torch.inference_mode():
        before, weight = fast(x, layer.weight, layer.bias), layer.weight.clone()
        settings.enabled = False
        layer.weight.data.copy_(weight * 3)  # not counted by a version
        assert torch.equal(fast(x, layer.weight, layer.bias), layer(x))
        layer.weight.data.copy_(weight)
        settings.enabled = True
        assert torch.equal(fast(x, layer.weight, layer.bias), before)


def test_a_layer_that_needs_gradients_has_them():
    network = UNet2D(UNetConfig.from_dict({**toys.TINY, **WIDE}))
    expected = UNet2D(network.config)
    expected.load_state_dict(network.state_dict())
    place_weights(network, CPU)
    predict(network)
    x = torch.randn(2, 3, 16, 16)
    for each in (network, expected):
        each(x, 3).square().sum().backward()
    for (name, a), b in zip(network.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-4), name


def test_a_copy_of_a_network_makes_its_own_filters():
    network = wide_network()
    before = predict(network)
    copied = copy.deepcopy(network)
    assert bytes_to_make(copied) > bytes_to_make(network)
    assert torch.equal(predict(copied), before)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("size", [(1, 7), (16, 16)], ids=str)
def test_an_enlarging_layer_has_the_gradients_of_enlarging_and_convolving(size, order):
    torch.manual_seed(0)
    layer = nn.Conv2d(5, 6, 3, padding=1).double()
    enlarging = EnlargingConvolution(layer, Edges())
    x = torch.randn(2, 5, *size, dtype=torch.float64).contiguous(memory_format=order)
    x.requires_grad_()
    wanted = (x, layer.weight, layer.bias)
    found, expected = (
        torch.autograd.grad(convolve().sin().sum(), wanted)
        for convolve in (
            lambda: enlarging(x, layer.weight, layer.bias),
            lambda: layer(F.interpolate(x, scale_factor=2.0, mode="nearest")),
        )
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_when_memory_is_short_the_layers_convolve_directly():
    layer, x = nn.Conv2d(64, 64, 3, padding=1), torch.randn(2, 64, 32, 32)
    fast = FastConvolution(layer, PreparedWeights(free_memory=lambda: 1e6), enlarges=False)
    with torch.inference_mode():
        assert torch.equal(fast(x, layer.weight, layer.bias), layer(x))
    assert fast.bytes_to_make == 4 * 64 * 64 * 36


def test_filters_take_at_most_four_times_the_weights_and_go_with_the_network():
    network = wide_network()
    weights = sum(p.numel() * 4 for p in network.parameters())
    assert 0 < bytes_to_make(network) <= 4 * weights
    predict(network)
    layers = [m.__dict__.get("_conv_forward") for m in network.modules()]
    made = [
        weakref.ref(layer._filters.value) for layer in layers if layer and not layer.bytes_to_make
    ]
    assert made
    del layers, network
    gc.collect()
    assert not any(filters() is not None for filters in made)
