"""Weights laid out for speed: their memory order, and that nothing else changes."""

import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.networks.placement import place_weights
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from float64 import compare_evaluations, widened
from torch import nn

CPU = torch.device("cpu")
NETWORKS = [toys.CIFAR, toys.CAT, toys.TRAINED, toys.NCSNPP, toys.TINY]


def strides(network: UNet2D) -> list[tuple[int, ...]]:
    return [parameter.stride() for parameter in network.parameters()]


@pytest.mark.parity
@pytest.mark.parametrize("fields", NETWORKS, ids=["cifar", "cat", "trained", "ncsnpp", "tiny"])
def test_an_arranged_network_predicts_the_same(fields, parity):
    torch.manual_seed(0)
    network = UNet2D(UNetConfig.from_dict(fields)).eval()
    x = torch.randn(2, 3, 32, 64)
    with torch.inference_mode():
        expected, exact = network(x, 7), widened(network)(x.double(), 7)
        assert place_weights(network, CPU) is network
        assert network.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
        parity("UNet, channels last", compare_evaluations(network(x, 7), expected, exact))


@pytest.mark.parametrize("channels", [1, 3])
def test_all_layers_of_an_arranged_network_pass_on_images_that_are_channels_last(channels):
    fields = {**toys.TINY, "in_channels": channels, "out_channels": channels}
    network = place_weights(UNet2D(UNetConfig.from_dict(fields)).eval(), CPU)
    outputs = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.GroupNorm):
            layer.register_forward_hook(lambda _layer, _given, out: outputs.append(out))
    with torch.inference_mode():
        network(torch.randn(2, channels, 16, 16), 7)
    # is_contiguous() does not help: with one channel it accepts any order.
    assert {out.stride(1) for out in outputs} == {1}


@pytest.mark.parametrize(
    ("dtype", "device"), [(torch.bfloat16, "cpu"), (torch.float16, "cpu"), (torch.float32, "cuda")]
)
def test_weights_stay_as_they_are_in_emulated_precision_and_for_a_gpu(dtype, device, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    network = UNet2D(UNetConfig.from_dict(toys.TINY), dtype=dtype)
    before = strides(network)
    assert strides(place_weights(network, torch.device(device))) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("own", [True, False], ids=["as it is", "cast"])
def test_an_arranged_network_does_not_change_with_its_file(own, device, dtype, tmp_path):
    network = UNet2D(UNetConfig.from_dict(toys.NCSNPP), dtype=dtype)
    save_model(tmp_path, network.state_dict(), network.config, SchedulerConfig())
    files = find_files(tmp_path)
    checkpoint = read_checkpoint(files, dtype if own else torch.bfloat16)
    arranged = place_weights(checkpoint.build(UNet2D), torch.device(device))
    before = {name: tensor.clone() for name, tensor in arranged.state_dict().items()}
    with files.weights.open("r+b") as file:
        file.write(b"\0" * files.weights.stat().st_size)
    for name, tensor in arranged.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_an_arranged_network_is_saved_as_it_was_loaded(tmp_path):
    network = UNet2D(UNetConfig.from_dict(toys.TINY))
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    place_weights(network, CPU)
    save_model(tmp_path / "m", network.state_dict(), network.config, SchedulerConfig())
    saved = read_checkpoint(find_files(tmp_path / "m")).weights
    assert all(torch.equal(saved[name], tensor) for name, tensor in weights.items())
