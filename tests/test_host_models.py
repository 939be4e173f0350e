"""In the real ComfyUI: kinds of models, saving them, downloading them."""

import json
import shutil
import threading
from typing import Any

import numpy as np
import ours
import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.networks.placement import has_fast_kernels
from comfyui_unconditional.pictures.images import latent_to_image
from comfyui_unconditional.schedulers.config import SchedulerConfig
from float64 import FIRST_SEED, SEEDS, compare_runs, widened
from graphs import digits, fails, files, graph, model_names, read_metadata, save_graph
from hub_lookalike import TOKEN, Repo
from PIL import Image
from sampler_graphs import ksampler
from wiring import Wires

from devtools.client import Graph, RefusedError

# Classes and other kinds of models

CLASSES = {**toys.TINY, "num_class_embeds": 5}


@pytest.mark.parametrize("sampler", ["PNDM", "DDPM", "DDIM"])
def test_a_class_label_is_that_of_diffusers_and_is_recorded(sampler, host, client, models, parity):
    name = f"classes-{sampler}"
    theirs = toys.write_checkpoint(models / name, CLASSES, scheduler={"beta_end": 0.002})
    config = SchedulerConfig(beta_end=0.002)
    run_core = {"PNDM": ours.run_pndm, "DDPM": ours.run_ddpm, "DDIM": ours.run_ddim}[sampler]
    for label in (0, 4):
        prefix = f"class-{sampler}-{label}"
        for file_format in ("npy", "png"):
            prompt = graph(
                sampler,
                name,
                class_label=label,
                steps=5,
                seed=FIRST_SEED,
                batch_size=len(SEEDS),
                format=file_format,
                filename_prefix=prefix,
            )
            shown = files(host, client.run(prompt))
        assert read_metadata(shown[0])["unconditional"]["class_label"] == label

        def reference(*, exact: bool, label: int = label) -> torch.Tensor:
            network = widened(theirs) if exact else theirs

            def call(x: torch.Tensor, t: float) -> torch.Tensor:
                return network(x, t, torch.tensor([label])).sample

            return latent_to_image(run_core(config, 5, call, SEEDS, (3, 8, 8), exact=exact))

        found = torch.from_numpy(np.load(host.output / f"{prefix}_00001_.npy"))
        expected, exact = reference(exact=False), reference(exact=True)
        parity("a class label", compare_runs(found, expected, exact))


@pytest.mark.parametrize("dtype", ["auto", "float16", "bfloat16"])
def test_a_model_of_skip_blocks_and_tables_samples_in_each_precision(dtype, host, client, models):
    fields = {
        **CLASSES,
        "block_out_channels": [32, 32],
        "down_block_types": ["AttnSkipDownBlock2D"] * 2,
        "up_block_types": ["AttnSkipUpBlock2D"] * 2,
        "time_embedding_type": "learned",
        "num_train_timesteps": 1000,
    }
    toys.write_checkpoint(models / "tables", fields, scheduler={"beta_end": 0.002})
    for sampler in ("PNDM", "DDPM", "DDIM"):
        files(host, client.run(graph(sampler, "tables", dtype=dtype, class_label=2)))


@pytest.mark.parametrize("sampler", ["PNDM", "DDPM", "DDIM"])
@pytest.mark.parametrize(
    ("fields", "inputs", "words"),
    [
        (CLASSES, {}, "Set class_label (0 to 4)"),
        (
            CLASSES,
            {"class_label": 5},
            "not one of this model's classes. Use 0 to 4",
        ),
        (toys.TINY, {"class_label": 0}, "without classes"),
    ],
    ids=["none", "beyond", "unconditional"],
)
def test_a_model_that_a_sampler_cannot_sample_is_an_error_on_the_sampler(
    sampler, fields, inputs, words, client, models
):
    toys.write_checkpoint(models / "refused", fields, scheduler={})
    fails(client, graph(sampler, "refused", **inputs), "2", words)


@pytest.mark.parametrize(
    ("fields", "scheduler", "parts", "words"),
    [
        ({}, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, {}, "flow matching"),
        ({}, {"_class_name": "BrandNewScheduler"}, {}, "'BrandNewScheduler'"),
        ({}, {"_class_name": "ScoreSdeVpScheduler"}, {}, "score SDE"),
        ({"time_embedding_type": "fourier"}, {}, {}, '"_class_name": "ScoreSdeVeScheduler"'),
        ({}, {}, {"vqvae": ["diffusers", "VQModel"]}, "latents"),
        ({"in_channels": 5, "out_channels": 1}, {}, {}, "super-resolution"),
    ],
    ids=["flow matching", "unknown", "score SDE", "sigmas", "latents", "conditioned"],
)
def test_a_model_that_no_sampler_supports_is_an_error_on_the_loader(
    fields, scheduler, parts, words, client, models
):
    toys.write_checkpoint(models / "other", toys.TINY | fields, scheduler=scheduler)
    index = models / "other" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | parts))
    fails(client, graph(model_name="other"), "1", words)


def test_a_model_with_classes_in_the_hosts_samplers_is_an_error_on_them(bench, models):
    toys.write_checkpoint(models / "refused", CLASSES, scheduler={})
    wires = Wires()
    model = wires.model("refused")
    latent = wires("UnconditionalEmptyLatent", model=model)
    node = ksampler(wires, model, latent, add_noise="enable", steps=2)
    bench.fails(wires, node, "this sampler cannot name one", node=node[0])


# Saving and downloading models


def test_a_saved_model_is_listed_loads_and_draws_the_same_picture(host, client):
    run = client.run(save_graph("digits-16", "mine/digits"))
    before = np.asarray(Image.open(files(host, run)[0]))
    assert run.outputs["4"]["text"][0].startswith("Saved as mine/digits in ")
    assert "mine/digits" in model_names(client)
    original, saved = (
        read_checkpoint(find_files(folder)).weights
        for folder in (ours.DIGITS, host.output / "diffusers" / "mine" / "digits")
    )
    assert all(torch.equal(saved[name], tensor) for name, tensor in original.items())
    after = files(host, client.run(graph(model_name="mine/digits")))
    assert np.array_equal(before, np.asarray(Image.open(after[0])))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_on_a_cpu_auto_keeps_the_files_precision_if_the_processor_computes_in_it(
    dtype, host, client, models
):
    name = str(dtype).removeprefix("torch.")
    toys.write_checkpoint(models / f"auto-{name}", toys.TINY, scheduler={}, dtype=dtype)
    pictures, recorded = [], []
    for choice in ("auto", "float32", name):
        run = client.run(graph("DDIM", f"auto-{name}", dtype=choice))
        (path,) = files(host, run)
        pictures.append(np.asarray(Image.open(path)))
        recorded.append(json.loads(Image.open(path).text["unconditional"])["dtype"])
    auto, wide, own = pictures
    computes = has_fast_kernels(dtype)
    assert recorded == [name if computes else "float32", "float32", name]
    # The host casts to float32 otherwise.
    assert np.array_equal(own, wide) != computes
    assert np.array_equal(auto, own)


def test_a_model_that_was_used_in_half_precision_is_saved_in_it(host, client):
    original = read_checkpoint(find_files(ours.DIGITS)).weights
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        files(host, client.run(save_graph("digits-16", f"half-{name}", name)))
        saved = read_checkpoint(find_files(host.output / "diffusers" / f"half-{name}"))
        assert saved.dtype == dtype
        for key, tensor in original.items():
            assert torch.equal(saved.weights[key], tensor.to(dtype))


def test_a_patched_model_is_saved_as_it_was_loaded(host, client):
    prompt = save_graph("digits-16", "patched")
    prompt["5"] = {"class_type": "TestPatchedModel", "inputs": {"model": ["1", 0]}}
    for node in ("2", "4"):
        prompt[node]["inputs"]["model"] = ["5", 0]
    # A sampler before it, so that the host has put the patch into the weights.
    save = prompt.pop("4")
    run = client.run(prompt)
    text = client.run({**prompt, "4": save}).outputs["4"]["text"][0]
    assert "Patches from other nodes are not included." in text
    original = read_checkpoint(find_files(ours.DIGITS)).weights
    saved = read_checkpoint(find_files(host.output / "diffusers" / "patched")).weights
    assert all(torch.equal(saved[name], tensor) for name, tensor in original.items())
    plain = files(host, client.run(graph(seed=7)))
    pictures = [np.asarray(Image.open(path)) for path in (*files(host, run), *plain)]
    assert not np.array_equal(*pictures)


def test_only_a_name_that_exists_is_reported_as_taken(client):
    for name, saved_as, is_taken in (
        (" written\\otherwise ", "written/otherwise", False),
        ("written\\otherwise", "written/otherwise_00002", True),
    ):
        text = client.run(save_graph("digits-16", name)).outputs["4"]["text"][0]
        assert text.startswith(f"Saved as {saved_as} in ")
        assert ("The name written/otherwise was taken." in text) == is_taken


def test_saving_again_uses_the_next_free_name_and_reports_it(host, client):
    # The name of the bundled model would hide the saved one.
    run = client.run(save_graph("digits-16", "digits-16"))
    text = run.outputs["4"]["text"][0]
    assert text.startswith("Saved as digits-16_00002 in ")
    assert "digits-16 was taken" in text
    assert "digits-16_00002" in model_names(client)


@pytest.mark.parametrize("prefix", ["../outside", ""])
def test_a_bad_name_of_a_saved_model_is_an_error_on_its_node(prefix, client):
    fails(client, save_graph("digits-16", prefix), "4", "is not a valid model name")


def download_graph(repo_id: Any, **inputs: Any) -> Graph:
    prompt = graph()
    prompt["1"] = {
        "class_type": "UnconditionalUNetDownload",
        "inputs": {"repo_id": repo_id, "revision": "main", "variant": "", **inputs},
    }
    return prompt


def digits_repository() -> Repo:
    return Repo(toys.contents(ours.DIGITS))


def test_a_model_is_downloaded_once_and_draws_its_picture(hub, host, client, models):
    hub.reset()
    hub.repos["somebody/digits"] = digits_repository()
    run = client.run(download_graph("somebody/digits"))
    picture = np.asarray(Image.open(files(host, run)[0]))
    assert np.abs(picture - (digits([7])[0, ..., 0] * 255).round()).max() <= 1
    assert read_metadata(files(host, run)[0])["unconditional"]["model"] == "somebody--digits"
    assert max(maximum for _, maximum in run.progress) > 100_000  # bytes
    assert "somebody--digits" in model_names(client)
    assert hub.requests
    hub.reset()
    files(host, client.run(download_graph("somebody/digits")))
    assert not hub.requests
    written = [path for path in (models / "somebody--digits").rglob("*") if path.is_file()]
    for path in (host.log, *written, *files(host, run)):
        assert TOKEN.encode() not in path.read_bytes()


def test_a_download_is_not_repeated_by_the_next_run_but_follows_edits_and_a_deleted_folder(
    hub, host, client, models
):
    hub.reset()
    hub.repos["somebody/once"] = digits_repository()
    prompt = download_graph("somebody/once")
    folder = models / "somebody--once"
    config = folder / "scheduler" / "scheduler_config.json"

    def ran() -> bool:
        run = client.run(prompt)
        assert run.error is None
        return "1" in run.executed

    assert [ran(), ran(), ran()] == [True, False, False]
    config.write_text(config.read_text() + "\n")
    assert [ran(), ran()] == [True, False]
    assert config.read_text().endswith("\n\n")  # and it stays
    shutil.rmtree(folder)
    assert [ran(), ran()] == [True, False]
    assert folder.is_dir()


def test_a_download_whose_name_comes_from_another_node_is_not_repeated(hub, host, client):
    hub.reset()
    hub.repos["somebody/linked"] = digits_repository()
    prompt = download_graph(["9", 0])
    prompt["9"] = {"class_type": "TestAnything", "inputs": {"text": "somebody/linked"}}
    first, second = client.run(prompt), client.run(prompt)
    assert [first.error, second.error] == [None, None]
    assert "1" in first.executed
    assert second.executed == []


def test_cancel_stops_a_download_and_the_next_run_completes_it(hub, host, client, models):
    hub.reset()
    hub.repos["somebody/slow"] = digits_repository()
    reached = threading.Event()

    def hold() -> None:
        if not reached.is_set() and hub.requests[-1].path.endswith(".safetensors"):
            reached.set()
            client.post("/interrupt", {})

    hub.delay = hold
    run = client.run(download_graph("somebody/slow"))
    assert reached.is_set()
    assert run.interrupted
    assert run.error is None
    assert not (models / "somebody--slow").exists()
    files(host, client.run(download_graph("somebody/slow")))
    assert (models / "somebody--slow" / "model_index.json").exists()


def test_a_download_that_fails_is_an_error_on_its_node(hub, client):
    hub.reset()
    fails(
        client, download_graph("somebody/nobody"), "1", "somebody/nobody does not exist on the hub"
    )
    hub.repos["somebody/gated"] = digits_repository()
    hub.repos["somebody/gated"].refusal = (403, "GatedRepo")
    fails(client, download_graph("somebody/gated"), "1", "is gated")


@pytest.mark.parametrize(
    "inputs",
    [{"repo_id": "../x"}, {"repo_id": ""}, {"revision": "../x"}, {"variant": "/x"}],
    ids=str,
)
def test_a_download_path_outside_the_models_folder_is_rejected(inputs, client):
    with pytest.raises(RefusedError) as refusal:
        client.run(download_graph(**{"repo_id": "a/b", **inputs}))
    assert "1" in refusal.value.errors
