"""In the real ComfyUI: MODELs of ours that the host makes a second time, with their own weights."""

import pytest
import torch
import toys
from graphs import files, graph
from sampler_graphs import SAMPLERS, ksampler, sampler
from wiring import Wires

from devtools.host import Host
from devtools.wires import Link

COPIES = ["deep clone", "other device", "not dynamic", "copy.deepcopy"]


def copied(wires: Wires, model: Link, kind: str, host: Host) -> Link:
    """The MODEL, copied in this way, or in the old way if the host does not support it."""
    if kind in ("deep clone", "other device") and host.version < (0, 30):
        kind = "copy.deepcopy"
    return wires("TestCopiedModel", model=model, kind=kind)


def changed(wires: Wires, model: Link) -> Link:
    """The MODEL with another schedule and patched weights."""
    other = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
    return wires("TestPatchedModel", model=wires.scheduled(model, **other))


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("dtype", ["auto", "float16"])
def test_a_copied_model_draws_the_same_images_whatever_was_put_on_it_before_and_after(
    dtype, kind, wires, bench
):
    model = wires("UnconditionalUNetLoader", model_name="digits-16", dtype=dtype)
    source = wires("TestDynamicModel", model=model) if kind == "not dynamic" else model
    copy = copied(wires, source, kind, bench.host)
    with_all = changed(wires, model)
    pairs = [(model, copy), (with_all, changed(wires, copy))]
    pairs.append((with_all, copied(wires, changed(wires, source), kind, bench.host)))
    latent = bench.put(wires, torch.zeros(2, 1, 16, 16))
    links = [sampler(wires, k, m, steps=4) for k in SAMPLERS for pair in pairs for m in pair]
    links += [ksampler(wires, m, latent, steps=4) for pair in pairs for m in pair]
    results = bench.get(wires, *links)
    for original, again in zip(results[::2], results[1::2], strict=True):
        assert torch.equal(original, again)
    assert (results[0] - results[2]).abs().max() > 1e-2


def test_a_dynamic_model_draws_the_same_images_with_whatever_schedule_was_used_before(bench):
    other = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
    results = []
    for dynamic in (False, True):
        wires = Wires()
        model = wires.model()
        model = wires("TestDynamicModel", model=model) if dynamic else model
        models = [model, wires.scheduled(model, **other)]
        if bench.host.version >= (0, 30):  # an older one patches the weights on a card alone
            models.append(wires("TestPatchedModel", model=model))
        latent = bench.put(wires, torch.zeros(1, 1, 16, 16))
        links = []
        for number, m in enumerate((*models, *models, *reversed(models))):
            links += [sampler(wires, kind, m, seed=number, steps=4) for kind in SAMPLERS]
            links.append(ksampler(wires, m, latent, steps=4, noise_seed=number))
        results.append(bench.get(wires, *links))
    for plain, again in zip(*results, strict=True):
        assert torch.equal(plain, again)


@pytest.mark.parametrize(("change", "rejected"), [("overwritten", True), ("touched", False)])
def test_a_copy_is_rejected_only_where_the_files_hold_another_model_now(
    change, rejected, host, client, models
):
    name = f"copied-{change}"
    toys.write_checkpoint(models / name, toys.TINY, scheduler={})
    path = next((models / name).rglob("*.safetensors"))
    prompt = graph(model_name=name)
    changed = {"model": ["1", 0], "path": str(path), "kind": change}
    prompt["4"] = {"class_type": "TestChangedFile", "inputs": changed}
    prompt["5"] = {"class_type": "TestDynamicModel", "inputs": {"model": ["4", 0]}}
    prompt["2"]["inputs"]["model"] = ["5", 0]
    run = client.run(prompt)
    if not rejected:
        files(host, run)
        return
    assert run.error
    assert run.error["node_id"] == "5"
    assert "have changed since it was loaded" in run.error["exception_message"]


def test_the_hosts_lora_training_runs_on_our_model(wires, bench):
    needed = bench.client.get("/object_info/TrainLoraNode")["TrainLoraNode"]["input"]["required"]
    settings = {
        name: options[1]["default"] for name, options in needed.items() if "default" in options[1]
    }
    trained = wires(
        "TrainLoraNode",
        **settings
        | {
            "model": wires.model(),
            "latents": bench.put(wires, torch.zeros(2, 1, 16, 16)),
            "positive": wires("UnconditionalConditioning"),
            "steps": 2,
        },
    )
    wires("LossGraphNode", loss=[trained[0], 1], filename_prefix="loss")
    bench.run(wires)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_device_without_float64_draws_the_same_image(kind, wires, bench):
    model = wires.model()
    lacking = wires("TestWithoutFloat64", model=model)
    latent = bench.put(wires, torch.zeros(1, 1, 16, 16))
    links = [sampler(wires, kind, m) for m in (model, lacking)]
    links += [ksampler(wires, m, latent, steps=4) for m in (model, lacking)]
    ours, ours_without, theirs, theirs_without = bench.get(wires, *links)
    assert (ours - ours_without).abs().max() < 1e-3
    assert (theirs - theirs_without).abs().max() < 1e-3
