"""In the real ComfyUI: fast filters follow what other nodes do to the weights."""

import pytest
import torch
import toys
from comfyui_unconditional.networks.placement import bytes_to_make, place_weights
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from safetensors.torch import save_file
from sampler_graphs import native, sampler
from wiring import Wires

CPU = torch.device("cpu")
# Wide enough for fast filters, on images large enough.
LAYERS = {"up_blocks.1.resnets.0.conv2": (64, 64), "up_blocks.1.resnets.1.conv2": (64, 64)}


@pytest.fixture
def lora(host):
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer, (out, channels) in LAYERS.items():
        name = f"diffusion_model.{layer}"
        down = torch.randn(2, channels, 3, 3, generator=generator)
        tensors[f"{name}.lora_up.weight"] = torch.randn(out, 2, 1, 1, generator=generator) / 20
        tensors[f"{name}.lora_down.weight"] = down / 20
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    folder = host.folder / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "digits.safetensors")
    return "digits.safetensors"


def test_a_lora_acts_and_is_gone_without_it(wires, bench, lora):
    model = wires.model()
    patched = wires("LoraLoaderModelOnly", model=model, lora_name=lora, strength_model=1.0)
    links = [sampler(wires, "DDIM", m, steps=4, batch_size=4) for m in (model, patched, model)]
    wires.graph[links[2][0]]["inputs"]["steps"] = 5  # not the first once more
    before, on, other = bench.get(wires, *links)
    assert (before - on).abs().max() > 1e-2
    wires = Wires()
    links = [sampler(wires, "DDIM", wires.model(), steps=n, batch_size=4) for n in (4, 5)]
    after, other_after = bench.get(wires, *links)
    assert torch.equal(before, after)
    assert torch.equal(other, other_after)


def test_a_hook_that_writes_into_the_weights_acts_and_is_gone_without_it(wires, bench, lora):
    nothing = wires("UnconditionalConditioning")
    model = wires.model()
    patched = wires("LoraLoaderModelOnly", model=model, lora_name=lora, strength_model=1.0)
    hooks = wires("CreateHookLoraModelOnly", lora_name=lora, strength_model=1.0)
    hooked = wires(
        "ConditioningSetProperties",
        cond_NEW=nothing,
        strength=1.0,
        set_cond_area="default",
        hooks=hooks,
    )
    before, on, expected = bench.get(
        wires,
        native(wires, model, 4, steps=4, positive=nothing),
        native(wires, model, 4, steps=4, positive=hooked),
        native(wires, patched, 4, steps=4, positive=nothing),
    )
    assert (before - on).abs().max() > 1e-2
    assert (on - expected).abs().max() < 1e-4
    wires = Wires()
    (after,) = bench.get(
        wires, native(wires, wires.model(), 4, steps=4, positive=wires("UnconditionalConditioning"))
    )
    assert torch.equal(before, after)


def test_a_lora_in_bypass_mode_is_rejected_where_images_tile(wires, bench, lora):
    bypassed = wires(
        "LoraLoaderBypassModelOnly", model=wires.model(), lora_name=lora, strength_model=1.0
    )
    tiling = wires("UnconditionalSeamlessTiling", model=bypassed)
    node = sampler(wires, "DDIM", tiling, steps=2)
    bench.fails(wires, node, "A LoRA in bypass mode", node=node[0])


def test_the_memory_of_the_filters_is_requested_until_they_are_made(bench, models):
    fields = {**toys.TINY, "block_out_channels": [128, 128], "norm_num_groups": 32}
    toys.write_checkpoint(models / "wide", {**fields, "sample_size": 16})
    asked = []
    for steps in (0, 1):
        wires = Wires()
        model = wires.model("wide")
        latent = wires("UnconditionalEmptyLatent", model=model, batch_size=1)
        if steps:
            latent = sampler(wires, "DDIM", model, steps=steps, latent=latent)
        ask, _ = wires("TestMemory", model=model, latent=latent)
        asked.append(bench.run(wires).outputs[ask]["bytes"][0])
    network = place_weights(UNet2D(UNetConfig.from_dict({**fields, "sample_size": 16})), CPU)
    assert 0 < asked[0] - asked[1] <= bytes_to_make(network)
