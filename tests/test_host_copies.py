"""In the real ComfyUI: MODELs of ours that the host makes a second time, with their own weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from graphs import files, graph
from sampler_graphs import SAMPLERS, ksampler, sampler
from wiring import Bench, Wires

from devtools.client import Client
from devtools.host import Host

COPIES = ["deep clone", "other device", "dynamic", "dynamic, again", "copy.deepcopy"]


def copied(wires: Wires, model: Any, kind: str, host: Host) -> Any:
    """The MODEL, copied in this way; where the host has none such, as it has long done it."""
    if kind in ("deep clone", "other device") and host.version < (0, 30):
        kind = "copy.deepcopy"
    return wires("TestCopiedModel", model=model, kind=kind)


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("dtype", ["auto", "float16"])
def test_a_copied_model_draws_the_same_images_in_our_samplers_and_the_hosts(
    dtype: str, kind: str, bench: Bench
) -> None:
    wires = Wires()
    model = wires("UnconditionalUNetLoader", model_name="digits-16", dtype=dtype)
    both = model, copied(wires, model, kind, bench.host)
    latent = bench.put(wires, torch.zeros(2, 1, 16, 16))
    links = [sampler(wires, name, m, batch_size=2) for name in SAMPLERS for m in both]
    links += [ksampler(wires, m, latent, steps=4) for m in both]
    results = bench.get(wires, *links)
    for original, copy in zip(results[::2], results[1::2], strict=True):
        assert torch.equal(original, copy)


@pytest.mark.parametrize("kind", COPIES)
def test_a_copied_model_keeps_the_schedule_and_the_patches_that_were_put_on_it(
    kind: str, bench: Bench
) -> None:
    wires = Wires()
    plain = wires.model()
    other = wires.model(beta_schedule="squaredcos_cap_v2", timestep_spacing="trailing")
    patched = wires("TestPatchedModel", model=other)
    copy = copied(wires, patched, kind, bench.host)
    changed_later = wires("TestPatchedModel", model=copied(wires, other, kind, bench.host))
    links = [sampler(wires, "DDIM", m) for m in (plain, patched, copy, changed_later)]
    without, expected, *results = bench.get(wires, *links)
    assert (without - expected).abs().max() > 1e-2
    for result in results:
        assert torch.equal(expected, result)


@pytest.mark.parametrize(("change", "refused"), [("overwritten", True), ("touched", False)])
def test_a_copy_is_refused_only_where_the_files_hold_another_model_now(
    change: str, refused: bool, host: Host, client: Client, models: Path
) -> None:
    name = f"copied-{change}"
    toys.write_checkpoint(models / name, toys.TINY, scheduler={})
    path = next((models / name).rglob("*.safetensors"))
    prompt = graph(model_name=name)
    changed = {"model": ["1", 0], "path": str(path), "kind": change}
    prompt["4"] = {"class_type": "TestChangedFile", "inputs": changed}
    copy = {"model": ["4", 0], "kind": "dynamic"}
    prompt["5"] = {"class_type": "TestCopiedModel", "inputs": copy}
    prompt["2"]["inputs"]["model"] = ["5", 0]
    run = client.run(prompt)
    if not refused:
        files(host, run)
        return
    assert run.error
    assert run.error["node_id"] == "5"
    assert "were changed after it was loaded" in run.error["exception_message"]


def test_the_hosts_lora_training_runs_on_our_model(bench: Bench) -> None:
    wires = Wires()
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
            "positive": wires("TestNothing"),
            "steps": 2,
        },
    )
    wires("LossGraphNode", loss=[trained[0], 1], filename_prefix="loss")
    bench.run(wires)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_device_without_float64_draws_the_same_image(kind: str, bench: Bench) -> None:
    wires = Wires()
    model = wires.model()
    lacking = wires("TestWithoutFloat64", model=model)
    latent = bench.put(wires, torch.zeros(1, 1, 16, 16))
    links = [sampler(wires, kind, m) for m in (model, lacking)]
    links += [ksampler(wires, m, latent, steps=4) for m in (model, lacking)]
    ours, ours_without, theirs, theirs_without = bench.get(wires, *links)
    assert (ours - ours_without).abs().max() < 1e-3
    assert (theirs - theirs_without).abs().max() < 1e-3
