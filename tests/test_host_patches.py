"""In the real ComfyUI: what other nodes and the host itself do to our MODEL."""

import json

import bundled
import numpy as np
import ours
import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.unet.memory import activation_bytes
from float64 import compare_runs
from graphs import digits, files, graph
from PIL import Image
from sampler_graphs import (
    SAMPLERS,
    half_mask,
    ksampler,
    records,
    report_of,
    sampler,
    sixteen_images,
    some_images,
    trajectory,
)
from wiring import Link, Wires

from devtools.client import Client
from devtools.host import Host

EMPTY = torch.zeros(1, 1, 16, 16)


# Wrappers and patches


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize(
    "wrapper", ["unet function", "apply model", "diffusion model", "post cfg", "another sigma"]
)
def test_a_wrapper_acts_in_our_samplers_as_in_the_hosts(wrapper, kind, wires, bench):
    model = wires.model(timestep_spacing="trailing", clip_sample="false", set_alpha_to_one="true")
    wrapped = wires("TestWrappedModel", model=model, kind=wrapper, name="")
    plain, changed = bench.get(
        wires, *(sampler(wires, kind, m, steps=20) for m in (model, wrapped))
    )
    assert (plain - changed).abs().max() > 0.05
    if kind == "DDIM":
        # The host's own ddim, over the same timesteps, gives exactly the same image.
        wires = Wires()
        model = wires.model(
            timestep_spacing="trailing", clip_sample="false", set_alpha_to_one="true"
        )
        wrapped = wires("TestWrappedModel", model=model, kind=wrapper, name="")
        latent = bench.put(wires, EMPTY)
        native = wires("KSamplerSelect", sampler_name="ddim")
        custom = wires.custom(wrapped, native, wires.timesteps(model, 20), latent, seed=7)
        one, two = bench.get(wires, custom, sampler(wires, kind, wrapped, steps=20, eta=0.0))
        assert (one - two).abs().max() < 1e-3


def test_a_compiled_model_gives_the_same_image(wires, bench, parity):
    model = wires.model()
    compiled = wires("TestWrappedModel", model=model, kind="compiled", name="")
    names = ("F-PNDM", "DDPM", "DDIM")
    links = [sixteen_images(wires, name, 10, model=m) for name in names for m in (model, compiled)]
    results = iter(bench.get(wires, *links))  # in one prompt: it is compiled once
    for name in names:
        plain, result = next(results), next(results)
        _, exact = bundled.their_runs(name, 10)
        parity("a compiled model, against a plain one", compare_runs(result, plain, exact))


def test_a_picture_of_a_patched_model_says_what_other_nodes_put_on_it(wires, bench):
    plain = wires.model()
    models = {
        "plain": (plain, None),
        "weights": (wires("TestPatchedModel", model=plain), ["weights"]),
        "schedule": (wires.model(clip_sample="false"), ["model_sampling"]),
    }
    for kind, name in (
        ("unet function", "model_function_wrapper"),
        ("apply model", "apply_model"),
        ("post cfg", "sampler_post_cfg_function"),
    ):
        models[kind] = (wires("TestWrappedModel", model=plain, kind=kind, name=""), [name])
    found = records(bench, wires, *(sampler(wires, "PNDM", m) for m, _ in models.values()))
    assert [record.get("patched") for record in found] == [words for _, words in models.values()]


@pytest.mark.parametrize("kind", SAMPLERS)
def test_weight_patches_apply_only_while_their_node_is_connected(kind, wires, bench):
    model = wires.model()
    patched = wires("TestPatchedModel", model=model)
    links = [sampler(wires, kind, m, seed=s) for m, s in ((model, 1), (patched, 1), (model, 1))]
    first, changed = bench.get(wires, *links[:2])
    (again,) = bench.get(wires, links[2])
    assert (first - changed).abs().max() > 1e-2
    assert torch.equal(first, again)


@pytest.mark.parametrize("kind", ["FreeU", "FreeU_V2", "HyperTile", "attention"])
def test_patches_for_parts_that_the_network_lacks_are_rejected(kind, bench):
    for make in (
        lambda wires: sampler(wires, "DDIM", patched(wires, kind)),
        lambda wires: ksampler(wires, patched(wires, kind), bench.put(wires, EMPTY), steps=2),
    ):
        wires = Wires()
        node = make(wires)
        bench.fails(wires, node, "Another node has put patches", node=node[0])


def patched(wires: Wires, kind: str) -> Link:
    model = wires.model()
    if kind == "attention":  # as set by the nodes of SageAttention and others
        return wires("TestWrappedModel", model=model, kind=kind, name="")
    if kind == "HyperTile":
        return wires(kind, model=model, tile_size=256, swap_size=2, max_depth=0, scale_depth=False)
    return wires(kind, model=model, b1=1.3, b2=1.4, s1=0.9, s2=0.2)


def test_a_controlnet_is_rejected_with_what_to_do(wires, bench):
    controlled = wires("TestControl", conditioning=wires("UnconditionalConditioning"))
    latent = bench.put(wires, EMPTY)
    node = ksampler(wires, wires.model(), latent, steps=2, positive=controlled)
    bench.fails(wires, node, "A ControlNet cannot act on an unconditional model", node=node[0])


# Images that are not finite


@pytest.mark.parametrize("kind", SAMPLERS)
def test_an_image_of_nan_is_left_out_and_named_and_the_others_are_kept(kind, wires, bench):
    model = wires.model()
    spoiled = wires("TestWrappedModel", model=model, kind="nan", name="0 2")
    node = sampler(wires, kind, spoiled, batch_size=4)
    assert report_of(bench, wires, node)["lost"] == ["7", "9"]
    (both,) = bench.get(wires, node)
    # In the same batch: another one rounds differently.
    (whole,) = bench.get(wires, sampler(wires, kind, model, batch_size=4))
    assert (both - whole[[1, 3]]).abs().max() < 1e-6

    # A sampler that continues draws them as if nothing had been left out.
    wires = Wires()
    spoiled = wires("TestWrappedModel", model=wires.model(), kind="nan", name="0 2")
    mask = torch.stack([half_mask()[0], *[1 - half_mask()[0]] * 3])
    latent = bench.put(wires, some_images(4), mask=mask, batch_index="[5, 2, 9, 1]")
    first = sampler(wires, kind, spoiled, latent=latent)
    second = sampler(wires, kind, wires.model(), latent=first)
    (result,) = bench.get(wires, second)
    images = some_images(4)[[1, 3]]
    assert torch.equal(result[..., 8:], images[..., 8:])
    wires = Wires()
    latent = bench.put(wires, images, mask=mask[[1, 3]], batch_index="[2, 1]")
    (expected,) = bench.get(wires, sampler(wires, kind, wires.model(), latent=latent))
    assert (result - expected).abs().max() < 1e-4


def test_a_batch_of_nan_ends_at_its_first_evaluation(bench):
    for custom in (False, True):
        wires = Wires()
        spoiled = wires("TestWrappedModel", model=wires.model(), kind="nan", name="")
        if custom:
            select = wires("UnconditionalPNDMSamplerSelect", method="PLMS")
            sigmas = wires.timesteps(spoiled, 10)
            node = wires.custom(spoiled, select, sigmas, bench.put(wires, EMPTY), seed=7)
        else:
            node = sampler(wires, "DDIM", spoiled, batch_size=3)
        run = bench.fails(wires, node, "NaN or infinite values", node=node[0])
        assert [done for done, _ in run.progress if done > 0] == []


def test_a_trajectory_leaves_out_the_frames_of_an_image_of_nan(wires, bench):
    results = []
    for name in ("1", ""):
        model = wires.model()
        if name:
            model = wires("TestWrappedModel", model=model, kind="nan", name=name)
        node = trajectory(wires, model, batch_size=3)
        results += bench.get(wires, node, [node[0], 1])
    final, frames, whole, all_frames = results
    assert (final - whole[[0, 2]]).abs().max() < 1e-4
    stacks = all_frames.unflatten(0, (3, -1))[[0, 2]].flatten(0, 1)
    assert (frames - stacks).abs().max() < 1e-4


# Memory


@pytest.mark.parametrize("size", [16, 256])
def test_the_memory_estimate_given_to_the_host_is_realistic(size, wires, bench):
    shape = (2, 1, size, size)
    wires("TestMemory", model=wires.model(), latent=bench.put(wires, torch.zeros(shape)))
    shown = bench.run(wires).outputs[str(len(wires.graph))]
    estimate = shown["bytes"][0] - shown["copies"][0]
    needed = activation_bytes(read_checkpoint(find_files(ours.DIGITS)).config, shape, torch.float32)
    assert needed < estimate < 1.6 * needed


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_batch_that_does_not_fit_is_split_and_gives_the_same_images(kind, wires, bench):
    name = f"split-{kind}-{bench.host.version}"
    model = wires.exact(wires.model())
    little = wires("TestWrappedModel", model=model, kind="little memory", name=name)
    whole, split = bench.get(
        wires, *(sampler(wires, kind, m, batch_size=6) for m in (model, little))
    )
    assert (whole - split).abs().max() < 1e-5
    sizes = json.loads((bench.folder / f"{name}.json").read_text())
    assert sizes[:3] == [2, 2, 2]
    assert set(sizes) == {2}


def test_an_evaluation_with_offloaded_weights_is_the_same_with_patches_too(wires, bench):
    wires("TestLowVram", model=wires.model())
    shown = bench.run(wires).outputs[str(len(wires.graph))]
    assert shown["offloaded"] == [True]
    assert min(shown["patched"]) > 0.01
    assert max(shown["difference"]) < 1e-4


def test_unloaded_and_after_another_model_it_draws_the_same_image(host, client, models):
    toys.write_checkpoint(models / "another", toys.TINY, scheduler={"beta_end": 0.002})
    expected = np.asarray(Image.open(files(host, client.run(graph(seed=61)))[0]))
    for k, prepare in enumerate(
        (
            lambda: client.post("/free", {"unload_models": True, "free_memory": True}),
            lambda: client.post("/free", {"unload_models": True}),
            lambda: files(host, client.run(graph("DDIM", "another"))),
        )
    ):
        prepare()
        run = client.run(graph(seed=61, filename_prefix=f"again-{k}"))
        assert np.array_equal(np.asarray(Image.open(files(host, run)[0])), expected)


# How the host was started


@pytest.mark.parametrize(
    ("arguments", "dtype"),
    [
        (("--force-fp16", "--disable-smart-memory"), "float16"),
        (("--bf16-unet", "--force-channels-last", "--cache-none"), "bfloat16"),
        (("--fp32-unet", "--use-split-cross-attention", "--deterministic"), "float32"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_the_hosts_command_line_flags_apply_to_our_models(arguments, dtype, host, tmp_path):
    environment = {"OMP_NUM_THREADS": "1"}
    with Host(
        tmp_path, comfyui=host.comfyui, arguments=arguments, environment=environment
    ) as other:
        client = Client(other.url)
        for name in SAMPLERS:
            (path,) = files(other, client.run(graph(name)))
            found = Image.open(path)
            assert f'"dtype": "{dtype}"' in found.text["unconditional"]
            if name == "PNDM":
                picture = np.asarray(found) / 255
                assert np.abs(picture - digits([7])[0, ..., 0]).mean() < 0.05
        client.close()
