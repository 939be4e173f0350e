"""Linear layers with prepared weights: their exactness, and which calls the layer handles."""

import copy

import pytest
import torch
from comfyui_unconditional.networks.linear import FastLinear, accelerate_linear, applied
from comfyui_unconditional.networks.placement import bytes_to_make
from comfyui_unconditional.networks.prepared import PreparedWeights
from comfyui_unconditional.unet.attention import Attention
from torch import nn


def never(_):
    return False


def attention(is_patched=never, settings=None):
    torch.manual_seed(0)
    made = Attention(64, head_dim=32, groups=8, eps=1e-5, operations=nn)
    accelerate_linear(made, settings or PreparedWeights(), is_patched)
    return made.requires_grad_(False)


def prepared(module):
    return [layer.__dict__["fast"]._prepared.value is not None for layer in module.projections]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 64), (3, 50), (64, 1), (7, 13, 5), (2, 300)], ids=str)
@pytest.mark.parametrize("features", [(64, 64), (33, 7), (1, 130)], ids=str)
def test_any_shape_is_multiplied_exactly(features, shape, bias):
    torch.manual_seed(0)
    layer = nn.Linear(*features, bias=bias)
    fast, x = FastLinear(layer, PreparedWeights(), never), torch.randn(*shape, features[0])
    with torch.inference_mode():
        found, expected = fast(x), copy.deepcopy(layer).double()(x.double())
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert fast.bytes_to_make == 0


def test_attention_prepares_its_projections_for_many_pixels_only():
    made, plain = attention(), attention(lambda _: True)
    assert bytes_to_make(made) == 4 * 4 * 64 * 64
    for side, are in ((4, False), (16, True)):
        x = torch.randn(1, 64, side, side)
        assert (made(x) - plain(x)).abs().max() < 1e-5
        assert prepared(made) == [are] * 4
    assert bytes_to_make(made) == 0
    assert bytes_to_make(copy.deepcopy(made)) == 4 * 4 * 64 * 64


def test_a_layer_that_another_node_computes_is_called_itself():
    patched = set()
    made, x = attention(lambda layer: layer in patched), torch.randn(1, 64, 16, 16)
    before = made(x)
    patched.add(made.to_v)
    made.to_v.register_forward_hook(lambda layer, inputs, output: 2 * output)
    assert not torch.allclose(made(x), before)
    patched.clear()
    assert torch.equal(made(x), before)


def test_another_weight_acts_at_once():
    made, x = attention(), torch.randn(1, 64, 16, 16)
    before, weight = made(x), made.to_v.weight
    made.to_v.weight = nn.Parameter(2 * weight, requires_grad=False)
    after = made(x)
    assert not torch.allclose(after, before)
    made.to_v.weight = weight
    assert torch.equal(made(x), before)


def test_with_gradients_without_memory_or_while_weights_are_written_to_the_layer_is_used():
    settings, x = PreparedWeights(), torch.randn(300, 64)
    layer = nn.Linear(64, 64)
    layer.fast = FastLinear(layer, settings, never)
    applied(layer, x).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        for name, value in (("enabled", False), ("free_memory", lambda: 1e6)):
            usual = getattr(settings, name)
            setattr(settings, name, value)
            assert torch.equal(applied(layer, x), layer(x))
            setattr(settings, name, usual)
    assert layer.fast.bytes_to_make == layer.weight.nbytes
