"""Group norms of large images, and of small ones in bfloat16, against torch's in float64."""

import copy
import random

import pytest
import torch
import toys
from comfyui_unconditional.networks import normalization
from comfyui_unconditional.networks.normalization import FastNorm, normalized, overwrites
from comfyui_unconditional.networks.placement import place_weights
from comfyui_unconditional.unet.activations import ACTIVATIONS
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import widened
from torch import nn

CPU = torch.device("cpu")


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(normalization, "_LEAST_VALUES", 1)
    monkeypatch.setattr(normalization, "_BLOCK_VALUES", 100)


def drawn(groups: int, width: int) -> nn.GroupNorm:
    norm = nn.GroupNorm(groups, groups * width)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm.requires_grad_(False)


def prepared(norm: nn.GroupNorm, *, patched: bool = False) -> nn.GroupNorm:
    norm.__dict__["fast"] = FastNorm(norm, lambda _: patched)
    return norm


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_any_shape_is_normalised_exactly(seed, overwrite, everything_is_large):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    norm = prepared(drawn(draw.randint(1, 9), draw.randint(1, 9)))
    x = images(draw.randint(1, 4), norm.num_channels, draw.randint(1, 19), draw.randint(2, 19))
    x = x * 3 + draw.choice([0, 5])
    name = draw.choice([None, *ACTIVATIONS])
    activation = ACTIVATIONS[name] if name else None
    before, expected = x.clone(), copy.deepcopy(norm).double()(x.double())
    expected = activation(expected) if activation else expected
    with torch.inference_mode():
        assert overwrites(norm, x)
        found = normalized(norm, x, activation, overwrite=overwrite)
    assert (found.data_ptr() == x.data_ptr()) == overwrite
    assert overwrite or torch.equal(x, before)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)


def test_a_large_image_is_normalised_ten_times_as_exactly_as_by_torch():
    torch.manual_seed(0)
    norm, x = drawn(4, 4), images(1, 16, 512, 512) + 1
    expected = copy.deepcopy(norm).double()(x.double())
    with torch.inference_mode():
        by_torch, found = norm(x), normalized(prepared(norm), x)
    errors = [(y - expected).abs().max() / expected.abs().max() for y in (found, by_torch)]
    assert errors[0] < 5e-7
    assert 10 * errors[0] < errors[1]


@pytest.mark.parametrize("case", ["gradients", "patched", "small", "another order", "half"])
def test_otherwise_the_layer_itself_computes_and_nothing_is_overwritten(case, monkeypatch):
    monkeypatch.setattr(normalization, "_LEAST_VALUES", 10**9 if case == "small" else 1)
    norm, x = prepared(drawn(2, 4), patched=case == "patched"), images(2, 8, 6, 6)
    if case == "another order":
        x = x.contiguous()
    if case == "half":
        norm, x = norm.bfloat16(), x.bfloat16()
    before = x.clone()
    with torch.set_grad_enabled(case == "gradients"):
        assert not overwrites(norm, x)
        assert torch.equal(normalized(norm, x, overwrite=True), norm(x))
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", [(4, 4), (40, 40)], ids=str)
def test_in_bfloat16_only_the_result_for_a_small_image_is_rounded(size):
    torch.manual_seed(0)
    norm, x = prepared(drawn(4, 8).bfloat16()), images(3, 32, *size).bfloat16()
    expected = nn.functional.silu(copy.deepcopy(norm).double()(x.double()))
    with torch.inference_mode():
        found = normalized(norm, x, ACTIVATIONS["silu"])
    assert found.dtype == torch.bfloat16
    if size == (4, 4):
        assert (found == expected.float().bfloat16()).float().mean() > 0.99  # otherwise ties
    else:
        assert (found - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("name", ["CIFAR", "CAT", "TRAINED", "NCSNPP"])
def test_a_network_with_such_norms_predicts_the_same(name, everything_is_large):
    torch.manual_seed(0)
    network = UNet2D(UNetConfig.from_dict(getattr(toys, name))).eval()
    x = torch.randn(2, 3, 32, 64)
    with torch.inference_mode():
        expected = widened(network)(x.double(), 7)
        found = place_weights(network, CPU)(x, 7)
    assert (found - expected).abs().max() < 5e-6 * expected.abs().max()


@pytest.mark.parametrize("name", ["CIFAR", "TRAINED", "NCSNPP"])
def test_in_bfloat16_fast_kernels_round_no_more_than_the_usual_ones(name):
    torch.manual_seed(0)
    network = UNet2D(UNetConfig.from_dict(getattr(toys, name))).eval().bfloat16()
    x = torch.randn(2, 3, 32, 64).bfloat16()
    with torch.inference_mode():
        expected, plain = widened(network)(x.double(), 7), network(x, 7)
        placed = place_weights(network, CPU)(x, 7)
    errors = [(y - expected).abs().mean() for y in (placed, plain)]
    assert placed.dtype == torch.bfloat16
    assert errors[0] < 1.2 * errors[1]
