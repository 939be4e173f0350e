"""The estimate of an evaluation's memory, compared with the tensors that are really alive."""

import json
import random
from collections.abc import Callable
from typing import Any

import matrix
import pytest
import torch
import toys
from comfyui_unconditional.networks.batch_parts import fastest_part
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.memory import activation_bytes
from comfyui_unconditional.unet.unet2d import UNet2D
from diffusers import UNet2DModel
from live_tensors import peak_bytes
from ours import DIGITS
from test_unet_matrix import CASES, inputs

GOOGLE_CIFAR = {
    **toys.CIFAR,
    "block_out_channels": [128, 256, 256, 256],
    "norm_num_groups": 32,
}
_WIDE = {"block_out_channels": [128, 128, 256, 256, 512, 512], "norm_num_groups": 32}
GOOGLE_CAT = {**toys.CAT, **_WIDE}
DIGITS_16 = json.loads((DIGITS / "unet" / "config.json").read_text())

NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "ddpm-cifar10-32": (GOOGLE_CIFAR, (32, 32)),
    "ddpm-cifar10-32, wide": (GOOGLE_CIFAR, (16, 40)),
    "ddpm-cat-256": (GOOGLE_CAT, (256, 256)),
    "ddpm-cat-256, high": (GOOGLE_CAT, (256, 96)),
    "train_unconditional.py": ({**toys.TRAINED, **_WIDE}, (64, 96)),
    "ncsnpp": ({**toys.NCSNPP, "block_out_channels": [128, 256, 256, 256]}, (32, 64)),
    "narrow cifar": (toys.CIFAR, (32, 32)),
    "narrow cat": (toys.CAT, (64, 32)),
    "narrow train_unconditional.py": (toys.TRAINED, (32, 64)),
    "narrow ncsnpp": (toys.NCSNPP, (32, 16)),
    "tiny": (toys.TINY, (8, 16)),
    "digits-16": (DIGITS_16, (16, 24)),
}


def measured(
    fields: dict[str, Any],
    size: tuple[int, int],
    *,
    batch: int,
    dtype: torch.dtype = torch.float32,
    device: str = "meta",
    network: Callable[..., torch.nn.Module] = UNet2D,
) -> int:
    """The peak of one evaluation; by default without computing it."""
    config = UNetConfig.from_dict(fields)
    with torch.device(device):
        model = network(config) if network is UNet2D else network(**fields)
        model = model.to(dtype).eval()
        x = torch.empty(batch, config.in_channels, *size, dtype=dtype)
        t = torch.full((batch,), 13.0)
    return peak_bytes(lambda: model(x, t))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_evaluation_takes_what_was_estimated_or_a_little_less(name, batch, dtype):
    fields, size = NETWORKS[name]
    config = UNetConfig.from_dict(fields)
    estimate = activation_bytes(config, (batch, config.in_channels, *size), dtype)
    peak = measured(fields, size, batch=batch, dtype=dtype)
    assert peak <= estimate <= 1.15 * peak


@pytest.mark.slow
@pytest.mark.parametrize("number", random.Random(0).sample(range(len(CASES)), 60))
def test_the_estimate_holds_for_random_configurations(number):
    fields = matrix.fields(CASES[number])
    config = UNetConfig.from_dict(fields)
    network = UNet2D(config).eval()
    x, t, labels = inputs(fields, number)
    batch, channels, height, width = x.shape
    peak = peak_bytes(lambda: network(x, t, labels))
    estimate = activation_bytes(config, (batch, channels, height, width), x.dtype)
    # For images of few pixels the time embedding, which is only estimated roughly, matters.
    assert peak <= estimate <= 2 * peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["narrow cifar", "narrow ncsnpp", "tiny", "digits-16"])
def test_a_network_that_computes_has_the_same_tensors_as_one_that_does_not(name, dtype):
    fields, size = NETWORKS[name]
    on_cpu = measured(fields, size, batch=2, dtype=dtype, device="cpu")
    assert on_cpu == measured(fields, size, batch=2, dtype=dtype)


def test_the_estimate_is_proportional_to_the_batch():
    config = UNetConfig.from_dict(GOOGLE_CAT)
    one = activation_bytes(config, (1, 3, 256, 256), torch.float32)
    assert activation_bytes(config, (7, 3, 256, 256), torch.float32) == 7 * one


@pytest.mark.parametrize(
    ("fields", "size", "batch"),
    [(GOOGLE_CIFAR, (32, 32), 8), (GOOGLE_CAT, (256, 256), 1)],
    ids=["ddpm-cifar10-32", "ddpm-cat-256"],
)
def test_our_network_takes_less_than_three_quarters_of_the_memory_of_diffusers(fields, size, batch):
    ours = measured(fields, size, batch=batch)
    theirs = measured(fields, size, batch=batch, network=UNet2DModel)
    assert ours <= 0.75 * theirs, (ours, theirs)


@pytest.mark.parametrize("act_fn", ["silu", "mish", "gelu", "relu"])
def test_activations_overwrite_in_inference_only_and_change_no_number(act_fn):
    torch.manual_seed(0)
    network = UNet2D(UNetConfig.from_dict({**toys.TINY, "act_fn": act_fn})).eval()
    x = torch.randn(1, 3, 8, 8)
    expected = network(x, 3)
    expected.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with torch.inference_mode():
        assert torch.equal(network(x, 3), expected)


@pytest.mark.parametrize("batch", [1, 16, 17, 64, 1000])
def test_on_a_cpu_a_batch_is_evaluated_in_even_parts_of_at_most_80_mebibytes(batch):
    config = UNetConfig.from_dict(GOOGLE_CIFAR)
    one = activation_bytes(config, (1, 3, 32, 32), torch.float32)
    part = fastest_part(batch, one, torch.device("cpu"))
    assert activation_bytes(config, (part, 3, 32, 32), torch.float32) <= 80 * 2**20
    sizes = [len(images) for images in torch.empty(batch).split(part)]
    assert max(sizes) - min(sizes) < len(sizes)
    half = fastest_part(batch, one // 2, torch.device("cpu"))
    assert half == batch if batch <= 34 else half > part
    assert fastest_part(batch, one, torch.device("cuda")) == batch


def test_an_image_that_is_larger_than_a_part_is_evaluated_alone():
    config = UNetConfig.from_dict(GOOGLE_CAT)
    one = activation_bytes(config, (1, 3, 256, 256), torch.float32)
    assert fastest_part(3, one, torch.device("cpu")) == 1
