"""What only the real ComfyUI can show: nodes, graphs, files, previews, cancel, bad input."""

import io
import json
import shutil
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import ours
import pytest
import torch
import toys
from comfyui_unconditional.host.images import latent_to_image
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.checkpoint import read_checkpoint
from comfyui_unconditional.unet.files import find_files
from comfyui_unconditional.unet.unet2d import UNet2D
from hub_lookalike import TOKEN, Hub, Repo
from PIL import Image
from safetensors.torch import load_file, save_file

from devtools.client import Client, Graph, RefusedError, Run
from devtools.environment import ROOT
from devtools.host import Host
from devtools.workflows import to_prompt

NODES: dict[str, dict[str, Any]] = {
    "UnconditionalUNetLoader": {
        "title": "Load Unconditional UNet",
        "inputs": {
            "model_name": None,
            "dtype": ["auto", "float32", "float16", "bfloat16"],
        },
        "outputs": ["MODEL"],
    },
    "UnconditionalPNDMSampler": {
        "title": "PNDM Sampler",
        "inputs": {
            "model": "MODEL",
            "seed": 0,
            "steps": 50,
            "batch_size": 1,
            "method": ["F-PNDM", "S-PNDM", "PLMS"],
            "convention": ["diffusers", "paper"],
        },
        "optional": {"class_label": -1},
        "outputs": ["LATENT"],
    },
    "UnconditionalDDPMSampler": {
        "title": "DDPM Sampler",
        "inputs": {
            "model": "MODEL",
            "seed": 0,
            "steps": 1000,
            "batch_size": 1,
            "variance_type": [
                "model",
                "fixed_small",
                "fixed_small_log",
                "fixed_large",
                "fixed_large_log",
                "learned",
                "learned_range",
            ],
        },
        "optional": {"class_label": -1},
        "outputs": ["LATENT"],
    },
    "UnconditionalDDIMSampler": {
        "title": "DDIM Sampler",
        "inputs": {"model": "MODEL", "seed": 0, "steps": 50, "batch_size": 1, "eta": 0.0},
        "optional": {"class_label": -1},
        "outputs": ["LATENT"],
    },
    "UnconditionalImageOutput": {
        "title": "Image Output",
        "inputs": {
            "samples": "LATENT",
            "filename_prefix": "unconditional",
            "format": ["png", "webp", "npy"],
            "scale": 1,
        },
        "outputs": ["IMAGE"],
    },
    "UnconditionalUNetSave": {
        "title": "Save Unconditional UNet",
        "inputs": {"model": "MODEL", "filename_prefix": "unconditional"},
        "outputs": [],
    },
    "UnconditionalUNetDownload": {
        "title": "Download Unconditional UNet",
        "inputs": {"repo_id": "google/ddpm-cifar10-32", "revision": "main", "variant": ""},
        "outputs": ["MODEL"],
    },
    "UnconditionalEmptyLatent": {
        "title": "Empty Pixel Latent",
        "inputs": {"model": "MODEL", "width": 0, "height": 0, "batch_size": 1},
        "outputs": ["LATENT"],
    },
    "UnconditionalConditioning": {
        "title": "Empty Conditioning",
        "inputs": {},
        "outputs": ["CONDITIONING"],
    },
    "UnconditionalImageToLatent": {
        "title": "Image to Pixel Latent",
        "inputs": {"image": "IMAGE", "model": "MODEL", "fit": ["crop", "stretch", "keep size"]},
        "outputs": ["LATENT"],
    },
}


def graph(sampler: str = "PNDM", model_name: str = "digits-16", **inputs: Any) -> Graph:
    """The graph of the README; inputs go to the node that has them, others to the sampler."""
    defaults: dict[str, dict[str, Any]] = {
        "1": {"model_name": model_name, "dtype": "auto"},
        "2": {"model": ["1", 0], "seed": 7, "steps": 10, "batch_size": 1},
        "3": {"samples": ["2", 0], "filename_prefix": "test", "format": "png", "scale": 1},
    }
    defaults["2"] |= {
        "PNDM": {"method": "F-PNDM", "convention": "diffusers"},
        "DDPM": {"variance_type": "model"},
        "DDIM": {"eta": 0.0},
    }[sampler]
    for name, value in inputs.items():
        owners = (node for node in defaults.values() if name in node)
        next(owners, defaults["2"])[name] = value
    kinds = {
        "1": "UnconditionalUNetLoader",
        "2": f"Unconditional{sampler}Sampler",
        "3": "UnconditionalImageOutput",
    }
    return {key: {"class_type": kinds[key], "inputs": defaults[key]} for key in kinds}


def files(host: Host, run: Run, node: str = "3") -> list[Path]:
    """The files that a node shows."""
    assert run.error is None, run.error
    assert not run.interrupted
    folders = {"output": host.output, "temp": host.folder / "temp"}
    return [
        folders[image["type"]] / image["subfolder"] / image["filename"]
        for image in run.outputs[node]["images"]
    ]


def digits(seeds: list[int], steps: int = 10) -> np.ndarray:
    """What our core gives without a host: (B, H, W, 1) in 0..1."""
    network = read_checkpoint(find_files(ours.DIGITS)).build(UNet2D)
    final = ours.run_pndm(SchedulerConfig(), steps, network, seeds, (1, 16, 16))
    return latent_to_image(final).numpy()


# Registration


def test_the_nodes_are_those_that_saved_workflows_depend_on(client: Client) -> None:
    info = client.get("/object_info")
    assert {name for name in info if name.startswith("Unconditional")} == set(NODES)
    for node_id, expected in NODES.items():
        found = info[node_id]
        assert found["display_name"] == expected["title"]
        assert found["category"] == "unconditional"
        assert found["description"]
        assert found["output"] == expected["outputs"]
        # Saved workflows keep values by position: what is new comes last.
        optional = expected.get("optional", {})
        assert found["input_order"]["required"] == list(expected["inputs"])
        assert found["input_order"].get("optional", []) == list(optional)
        declared = {**found["input"]["required"], **found["input"].get("optional", {})}
        for name, default in {**expected["inputs"], **optional}.items():
            kind, options = declared[name]
            assert options["tooltip"], f"{node_id}.{name} has no tooltip"
            if isinstance(default, list):
                assert (options.get("options") or kind) == default
            elif isinstance(default, str) and default.isupper():
                assert kind == default
            elif default is not None:
                assert options["default"] == default
    seed = info["UnconditionalPNDMSampler"]["input"]["required"]["seed"][1]
    assert seed["control_after_generate"]
    assert seed["max"] == 2**64 - 1
    scale = info["UnconditionalImageOutput"]["input"]["required"]["scale"][1]
    assert (scale["min"], scale["max"]) == (1, 16)


def model_names(client: Client) -> list[str]:
    kind, options = client.get("/object_info/UnconditionalUNetLoader")["UnconditionalUNetLoader"][
        "input"
    ]["required"]["model_name"]
    return options.get("options") or kind


def test_a_model_folder_appears_when_it_is_added(client: Client, models: Path) -> None:
    assert model_names(client)[0] == "digits-16"
    toys.write_checkpoint(models / "mine" / "deep" / "tiny", toys.TINY)
    toys.write_checkpoint(models / "pipeline", toys.TINY, layout="pipeline", scheduler={})
    names = model_names(client)
    assert "mine/deep/tiny" in names
    assert "pipeline" in names
    assert "pipeline/unet" not in names


def test_help_is_served_for_every_node(client: Client) -> None:
    for node_id in NODES:
        path = ROOT / "web" / "docs" / f"{node_id}.md"
        assert path.is_file(), path
        url = f"{client.url}/extensions/comfyui-unconditional/docs/{node_id}.md"
        with urllib.request.urlopen(url, timeout=10) as response:
            assert response.read() == path.read_bytes()


# The main job


@pytest.mark.parametrize("name", ["quick_start_pndm", "ddpm", "ddim", "native_ksampler"])
def test_an_example_workflow_runs(name: str, host: Host, client: Client) -> None:
    saved = json.loads((ROOT / "example_workflows" / f"{name}.json").read_text())
    prompt = to_prompt(saved, client.get("/object_info"))
    run = client.run(prompt)
    pictures = files(host, run)
    assert len(pictures) == 16
    assert {Image.open(path).size for path in pictures} == {(128, 128)}
    # Digits are white on black: some of both, in each.
    for path in pictures:
        pixels = np.asarray(Image.open(path))
        assert pixels.max() > 200
        assert pixels.min() < 30


def test_the_picture_is_that_of_the_core_and_of_diffusers(host: Host, client: Client) -> None:
    run = client.run(graph(batch_size=3, seed=2**64 - 1))
    expected = digits([2**64 - 1, 0, 1])
    for k, path in enumerate(files(host, run)):
        picture = Image.open(path)
        assert picture.mode == "L"
        assert np.abs(np.asarray(picture) - (expected[k, ..., 0] * 255).round()).max() <= 1


@pytest.mark.parametrize(
    ("sampler", "inputs", "evaluations"),
    [
        ("PNDM", {"steps": 10}, 18),
        ("PNDM", {"steps": 10, "method": "PLMS"}, 10),
        ("PNDM", {"steps": 10, "method": "S-PNDM"}, 10),
        ("PNDM", {"steps": 10, "convention": "paper"}, 19),
        ("DDPM", {"steps": 25}, 25),
        ("DDIM", {"steps": 12, "eta": 0.5}, 12),
    ],
)
def test_progress_counts_the_evaluations_and_previews_show_the_predicted_image(
    sampler: str, inputs: dict[str, Any], evaluations: int, host: Host, client: Client
) -> None:
    run = client.run(graph(sampler, seed=1000 + evaluations, **inputs))
    picture = np.asarray(Image.open(files(host, run)[0]))
    assert run.progress[-1] == (evaluations, evaluations)
    assert {maximum for _, maximum in run.progress} == {evaluations}
    assert len(run.previews) == evaluations
    preview = Image.open(io.BytesIO(run.previews[-1])).convert("L").resize((16, 16))
    likeness = np.corrcoef(np.asarray(preview).ravel(), picture.ravel())[0, 1]
    assert likeness > 0.9


def test_a_second_prompt_gives_the_same_picture(host: Host, client: Client) -> None:
    first = client.run(graph(seed=21, filename_prefix="first"))
    client.run(graph(seed=22, filename_prefix="between"))
    again = client.run(graph(seed=21, filename_prefix="again"))
    one, two = (np.asarray(Image.open(files(host, run)[0])) for run in (first, again))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_draws_nearly_the_same(dtype: str, host: Host, client: Client) -> None:
    run = client.run(graph(dtype=dtype))
    picture = np.asarray(Image.open(files(host, run)[0])) / 255
    assert np.abs(picture - digits([7])[0, ..., 0]).mean() < 0.05


def test_a_retrained_model_is_loaded_anew(host: Host, client: Client, models: Path) -> None:
    folder = models / "retrained"
    shutil.copytree(ours.DIGITS, folder)
    before = client.run(graph(model_name="retrained"))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    tensors["conv_out.weight"] *= 1.05
    replacement = weights.with_suffix(".new")
    save_file(tensors, replacement)
    replacement.replace(weights)
    after = client.run(graph(model_name="retrained"))
    one, two = (np.asarray(Image.open(files(host, run)[0])) for run in (before, after))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    ("name", "fields", "options"),
    [
        (
            "google--ddpm-cifar10-32",
            toys.CIFAR,
            {"suffix": "bin", "legacy": True, "scheduler": {"variance_type": "fixed_large"}},
        ),
        ("google--ddpm-cat-64", {**toys.CAT, "sample_size": 64}, {"suffix": "bin", "legacy": True}),
        (
            "trained",
            toys.TRAINED,
            {"layout": "pipeline", "scheduler": {"beta_schedule": "squaredcos_cap_v2"}},
        ),
        ("wide", {**toys.CIFAR, "sample_size": [16, 32]}, {"scheduler": {}}),
    ],
)
def test_the_configurations_that_people_have_load_and_sample(
    name: str,
    fields: dict[str, Any],
    options: dict[str, Any],
    host: Host,
    client: Client,
    models: Path,
) -> None:
    toys.write_checkpoint(models / name, fields, **options)
    for sampler in ("PNDM", "DDPM", "DDIM"):
        run = client.run(graph(sampler, name, steps=4))
        size = fields["sample_size"]
        height, width = size if isinstance(size, list) else (size, size)
        assert Image.open(files(host, run)[0]).size == (width, height)


def test_a_model_without_a_scheduler_file_is_warned_of(
    host: Host, client: Client, models: Path
) -> None:
    toys.write_checkpoint(models / "bare", toys.TINY)
    files(host, client.run(graph("DDIM", "bare")))
    log = host.log.read_text(errors="replace")
    assert "bare has no scheduler_config.json. Using the defaults" in log
    assert "'beta_end': 0.02" in log


# Files


def test_png_and_webp_hold_the_graph_and_how_each_picture_was_made(
    host: Host, client: Client
) -> None:
    sha256 = read_checkpoint(find_files(ours.DIGITS)).sha256
    for file_format in ("png", "webp"):
        prompt = graph(batch_size=2, seed=40, format=file_format)
        for k, path in enumerate(files(host, client.run(prompt))):
            metadata = read_metadata(path)
            found = metadata["prompt"]  # the host adds to it what it compared for its cache
            for node in found.values():
                node.pop("is_changed", None)
            assert found == prompt
            assert metadata["workflow"] == {"nodes": []}
            assert metadata["unconditional"] == {
                "seed": 40 + k,
                "sampler": "PNDM",
                "method": "F-PNDM",
                "convention": "diffusers",
                "steps": 10,
                "evaluations": 18,
                "model": "digits-16",
                "sha256": sha256,
                "dtype": "float32",
            }


def read_metadata(path: Path) -> dict[str, Any]:
    picture = Image.open(path)
    if path.suffix == ".png":
        return {name: json.loads(text) for name, text in picture.text.items()}  # type: ignore[attr-defined]
    texts = [value for value in picture.getexif().values() if isinstance(value, str)]
    return {text.split(":", 1)[0]: json.loads(text.split(":", 1)[1]) for text in texts}


def test_the_seed_in_a_picture_gives_the_picture_again_alone(host: Host, client: Client) -> None:
    batch = files(host, client.run(graph("DDPM", batch_size=3, seed=90, steps=20)))
    seed = read_metadata(batch[2])["unconditional"]["seed"]
    alone = files(host, client.run(graph("DDPM", batch_size=1, seed=seed, steps=20)))
    pictures = [np.asarray(Image.open(path)).astype(int) for path in (batch[2], alone[0])]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_webp_is_lossless(host: Host, client: Client) -> None:
    png = files(host, client.run(graph(seed=77, format="png")))
    webp = files(host, client.run(graph(seed=77, format="webp")))
    one, two = (np.asarray(Image.open(paths[0]).convert("L")) for paths in (png, webp))
    assert np.array_equal(one, two)


def test_npy_is_the_array_that_diffusers_calls_np(host: Host, client: Client) -> None:
    run = client.run(graph(batch_size=2, format="npy", filename_prefix="arrays/a", scale=4))
    array = np.load(host.output / "arrays" / "a_00001_.npy")
    assert array.dtype == np.float32
    assert array.shape == (2, 16, 16, 1)
    assert np.abs(array - digits([7, 8])).max() < 1e-4
    shown = files(host, run)
    assert [Image.open(path).size for path in shown] == [(64, 64)] * 2


def test_scale_enlarges_the_saved_picture_and_not_the_image(host: Host, client: Client) -> None:
    prompt = graph(scale=3)
    prompt["4"] = {
        "class_type": "SaveImage",
        "inputs": {"images": ["3", 0], "filename_prefix": "core"},
    }
    run = client.run(prompt)
    large, core = Image.open(files(host, run)[0]), Image.open(files(host, run, "4")[0])
    assert large.size == (48, 48)
    assert core.size == (16, 16)
    assert core.mode == "RGB"
    assert np.array_equal(np.asarray(large)[1::3, 1::3], np.asarray(large)[::3, ::3])


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_the_picture_has_the_channels_of_the_model(
    channels: int, mode: str, host: Host, client: Client, models: Path
) -> None:
    fields = {**toys.TINY, "in_channels": channels, "out_channels": channels}
    toys.write_checkpoint(models / f"channels-{channels}", fields, scheduler={"beta_end": 0.002})
    run = client.run(graph("DDIM", f"channels-{channels}"))
    assert Image.open(files(host, run)[0]).mode == mode


@pytest.mark.parametrize("channels", [2, 5])
def test_other_numbers_of_channels_are_saved_as_npy_only(
    channels: int, host: Host, client: Client, models: Path
) -> None:
    fields = {**toys.TINY, "in_channels": channels, "out_channels": channels}
    name = f"channels-{channels}"
    toys.write_checkpoint(models / name, fields, scheduler={"beta_end": 0.002})
    files(host, client.run(graph("DDIM", name, format="npy", filename_prefix=name)))
    assert np.load(host.output / f"{name}_00001_.npy").shape == (1, 8, 8, channels)
    fails(client, graph("DDIM", name), "3", f"have {channels}. Choose the format npy")


# Classes and other kinds of models

CLASSES = {**toys.TINY, "num_class_embeds": 5}


@pytest.mark.parametrize("sampler", ["PNDM", "DDPM", "DDIM"])
def test_a_class_label_is_that_of_diffusers_and_is_recorded(
    sampler: str, host: Host, client: Client, models: Path
) -> None:
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
                batch_size=2,
                format=file_format,
                filename_prefix=prefix,
            )
            shown = files(host, client.run(prompt))
        assert read_metadata(shown[0])["unconditional"]["class_label"] == label

        def call(x: torch.Tensor, t: float, label: int = label) -> torch.Tensor:
            return theirs(x, t, torch.tensor([label])).sample

        expected = latent_to_image(run_core(config, 5, call, [7, 8], (3, 8, 8)))
        assert np.abs(np.load(host.output / f"{prefix}_00001_.npy") - expected.numpy()).max() < 1e-4


@pytest.mark.parametrize("dtype", ["auto", "float16", "bfloat16"])
def test_a_model_of_skip_blocks_and_tables_samples_in_each_precision(
    dtype: str, host: Host, client: Client, models: Path
) -> None:
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
        (CLASSES, {"class_label": 5}, "class_label 5 is not one of this model's classes, 0 to 4"),
        (toys.TINY, {"class_label": 0}, "without classes"),
        ({**toys.TINY, "time_embedding_type": "fourier"}, {}, "trained on noise levels (sigmas)"),
    ],
    ids=["none", "beyond", "unconditional", "variance-exploding"],
)
def test_what_a_sampler_cannot_make_is_an_error_on_it(
    sampler: str,
    fields: dict[str, Any],
    inputs: dict[str, Any],
    words: str,
    client: Client,
    models: Path,
) -> None:
    toys.write_checkpoint(models / "refused", fields, scheduler={})
    fails(client, graph(sampler, "refused", **inputs), "2", words)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (CLASSES, "this sampler cannot name one"),
        ({**toys.TINY, "time_embedding_type": "fourier"}, "trained on sigmas"),
    ],
    ids=["classes", "variance-exploding"],
)
def test_what_the_hosts_samplers_cannot_make_is_an_error_on_them(
    fields: dict[str, Any], words: str, client: Client, models: Path
) -> None:
    toys.write_checkpoint(models / "refused", fields, scheduler={})
    prompt = graph(model_name="refused")
    prompt["4"] = {"class_type": "TestNothing", "inputs": {}}
    prompt["2"] = {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0],
            "seed": 0,
            "steps": 2,
            "cfg": 1.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": ["4", 0],
            "negative": ["4", 0],
            "latent_image": ["4", 1],
            "denoise": 1.0,
        },
    }
    fails(client, prompt, "2", words)


def test_a_workflow_saved_before_class_label_still_runs(client: Client) -> None:
    saved = json.loads((ROOT / "example_workflows" / "ddim.json").read_text())
    prompt = to_prompt(saved, client.get("/object_info"))
    assert not any("class_label" in node["inputs"] for node in prompt.values())
    assert client.run(prompt).error is None


# Saving and downloading models


def save_graph(model_name: str, filename_prefix: str, dtype: str = "auto") -> Graph:
    prompt = graph(model_name=model_name, dtype=dtype)
    inputs = {"model": ["1", 0], "filename_prefix": filename_prefix}
    prompt["4"] = {"class_type": "UnconditionalUNetSave", "inputs": inputs}
    return prompt


def test_a_saved_model_is_listed_loads_and_draws_the_same_picture(
    host: Host, client: Client
) -> None:
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


def test_a_model_that_was_used_in_half_precision_is_saved_in_it(host: Host, client: Client) -> None:
    original = read_checkpoint(find_files(ours.DIGITS)).weights
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        files(host, client.run(save_graph("digits-16", f"half-{name}", name)))
        saved = read_checkpoint(find_files(host.output / "diffusers" / f"half-{name}"))
        assert saved.dtype == dtype
        for key, tensor in original.items():
            assert torch.equal(saved.weights[key], tensor.to(dtype))


def test_a_patched_model_is_saved_as_it_was_loaded(host: Host, client: Client) -> None:
    prompt = save_graph("digits-16", "patched")
    prompt["5"] = {"class_type": "TestPatchedModel", "inputs": {"model": ["1", 0]}}
    for node in ("2", "4"):
        prompt[node]["inputs"]["model"] = ["5", 0]
    # A sampler before it, so that the host has put the patch into the weights.
    save = prompt.pop("4")
    run = client.run(prompt)
    told = client.run({**prompt, "4": save}).outputs["4"]["text"][0]
    assert "patches that other nodes put on the model are not in it" in told
    original = read_checkpoint(find_files(ours.DIGITS)).weights
    saved = read_checkpoint(find_files(host.output / "diffusers" / "patched")).weights
    assert all(torch.equal(saved[name], tensor) for name, tensor in original.items())
    plain = files(host, client.run(graph(seed=7)))
    pictures = [np.asarray(Image.open(path)) for path in (*files(host, run), *plain)]
    assert not np.array_equal(*pictures)


def test_saving_again_takes_the_next_free_name_and_says_so(host: Host, client: Client) -> None:
    # The name of the bundled model would hide the saved one.
    run = client.run(save_graph("digits-16", "digits-16"))
    told = run.outputs["4"]["text"][0]
    assert told.startswith("Saved as digits-16_00002 in ")
    assert "digits-16 was taken" in told
    assert "digits-16_00002" in model_names(client)
    for dtype in ("float32", "float16"):  # so that the node runs again
        run = client.run(save_graph("digits-16", "twice", dtype))
    assert run.outputs["4"]["text"][0].startswith("Saved as twice_00002 in ")


@pytest.mark.parametrize(
    ("prefix", "words"),
    [("../outside", "cannot be the name"), ("", "cannot be the name")],
)
def test_a_bad_name_of_a_saved_model_is_an_error_on_its_node(
    prefix: str, words: str, client: Client
) -> None:
    fails(client, save_graph("digits-16", prefix), "4", words)


def test_saving_a_model_of_another_kind_is_refused(client: Client) -> None:
    prompt = save_graph("digits-16", "foreign")
    prompt["5"] = {"class_type": "TestForeignModel", "inputs": {}}
    prompt["4"]["inputs"]["model"] = ["5", 0]
    fails(client, prompt, "4", "Connect 'Load Unconditional UNet'")


def download_graph(repo_id: str, **inputs: Any) -> Graph:
    prompt = graph()
    prompt["1"] = {
        "class_type": "UnconditionalUNetDownload",
        "inputs": {"repo_id": repo_id, "revision": "main", "variant": "", **inputs},
    }
    return prompt


def digits_repository() -> Repo:
    found = [path for path in ours.DIGITS.rglob("*") if path.is_file()]
    return Repo({path.relative_to(ours.DIGITS).as_posix(): path.read_bytes() for path in found})


def test_a_model_is_downloaded_once_and_draws_its_picture(
    hub: Hub, host: Host, client: Client, models: Path
) -> None:
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


def test_cancel_stops_a_download_and_the_next_run_completes_it(
    hub: Hub, host: Host, client: Client, models: Path
) -> None:
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


def test_a_download_that_fails_is_an_error_on_its_node(hub: Hub, client: Client) -> None:
    hub.reset()
    fails(client, download_graph("somebody/nobody"), "1", "no somebody/nobody on the hub")
    hub.repos["somebody/gated"] = digits_repository()
    hub.repos["somebody/gated"].refusal = (403, "GatedRepo")
    fails(client, download_graph("somebody/gated"), "1", "is gated")


@pytest.mark.parametrize(
    "inputs",
    [{"repo_id": "../x"}, {"repo_id": ""}, {"revision": "../x"}, {"variant": "/x"}],
    ids=str,
)
def test_a_download_that_leads_outside_is_refused(inputs: dict[str, str], client: Client) -> None:
    with pytest.raises(RefusedError) as refusal:
        client.run(download_graph(**{"repo_id": "a/b", **inputs}))
    assert "1" in refusal.value.errors


# Cancel


def test_cancel_stops_within_an_evaluation_and_the_next_prompt_runs(
    host: Host, client: Client
) -> None:
    def cancel(value: int, maximum: int) -> None:
        if value == 5:
            threading.Thread(target=client.post, args=("/interrupt", {})).start()

    run = client.run(graph("DDPM", steps=1000, batch_size=16, seed=4), cancel)
    assert run.interrupted
    assert run.error is None
    assert run.progress[-1][0] < 100
    files(host, client.run(graph()))


# Bad input


def fails(client: Client, prompt: Graph, node: str, words: str) -> None:
    """Assert that a prompt fails on this node with these words, and that the next one runs."""
    run = client.run(prompt)
    assert run.error is not None, "nothing failed"
    assert run.error["node_id"] == node
    assert words in run.error["exception_message"], run.error["exception_message"]
    after = client.run(graph(seed=1))
    assert after.error is None


@pytest.mark.parametrize(
    ("sampler", "inputs", "node", "words"),
    [
        ("PNDM", {"steps": 1001}, "2", "from 1 to 1000"),
        ("DDPM", {"steps": 1001}, "2", "from 1 to 1000"),
        ("DDIM", {"steps": 1001}, "2", "from 1 to 1000"),
        ("DDIM", {"eta": float("nan")}, "2", "eta must be from 0 to 1"),
        ("DDPM", {"variance_type": "learned_range"}, "2", "2 output channels"),
        ("PNDM", {"filename_prefix": "../outside"}, "3", "outside the output folder"),
    ],
)
def test_a_bad_input_is_an_error_on_its_node(
    sampler: str, inputs: dict[str, Any], node: str, words: str, client: Client
) -> None:
    fails(client, graph(sampler, **inputs), node, words)


@pytest.mark.parametrize(
    "inputs",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"scale": 17},
        {"method": "RK45"},
        {"seed": -1},
        {"dtype": "int8"},
    ],
    ids=str,
)
def test_a_value_beyond_the_widget_is_refused(inputs: dict[str, Any], client: Client) -> None:
    # The host refuses it; an older one does not compare choices, and there the node does.
    def refusal() -> str:
        try:
            run = client.run(graph(**inputs))
        except RefusedError as error:
            return str(error)
        return run.error["exception_message"] if run.error else ""

    assert str(next(iter(inputs.values()))) in refusal()


def test_a_model_that_is_not_there_is_refused_with_what_to_do(client: Client) -> None:
    with pytest.raises(RefusedError, match="There is no model 'somebody/elses'") as refusal:
        client.run(graph(model_name="somebody/elses"))
    assert "1" in refusal.value.errors


def weights_name(folder: Path) -> str:
    return next(path.name for path in folder.glob("*.safetensors"))


def break_empty(folder: Path) -> None:
    (folder / weights_name(folder)).unlink()


def break_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def break_scheduler(folder: Path) -> None:
    (folder / "scheduler_config.json").write_text('{"beta_schedule": "steep"}')


def break_block(folder: Path) -> None:
    fields = {**toys.TINY, "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]}
    (folder / "config.json").write_text(json.dumps(fields))


def break_class(folder: Path) -> None:
    fields = {**toys.TINY, "_class_name": "UNet2DConditionModel"}
    (folder / "config.json").write_text(json.dumps(fields))


def break_truncate(folder: Path) -> None:
    path = folder / weights_name(folder)
    path.write_bytes(path.read_bytes()[:-1000])


def break_shape(folder: Path) -> None:
    fields = {**toys.TINY, "block_out_channels": [8, 24]}
    (folder / "config.json").write_text(json.dumps(fields))


def break_nan(folder: Path) -> None:
    path = folder / weights_name(folder)
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors["conv_in.bias"][0] = torch.nan
    save_file(tensors, path)


def break_size(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**toys.TINY, "sample_size": 15}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_empty, "has no weights"),
        (break_json, "not valid JSON"),
        (break_scheduler, "beta_schedule"),
        (break_block, "CrossAttnDownBlock2D"),
        (break_class, "UNet2DConditionModel"),
        (break_truncate, "not a readable safetensors file"),
        (break_shape, "of another shape"),
        (break_nan, "conv_in.bias contains NaN"),
        (break_size, "divisible by 2"),
    ],
)
def test_a_broken_model_is_an_error_on_the_loader(
    damage: Any, words: str, client: Client, models: Path
) -> None:
    folder = models / damage.__name__
    toys.write_checkpoint(folder, toys.TINY, scheduler={})
    damage(folder)
    fails(client, graph(model_name=damage.__name__), "1", words)


def test_a_model_without_a_size_is_an_error_on_the_sampler(client: Client, models: Path) -> None:
    toys.write_checkpoint(models / "sizeless", toys.TINY, scheduler={})
    (models / "sizeless" / "config.json").write_text(json.dumps({**toys.TINY, "sample_size": None}))
    fails(client, graph(model_name="sizeless"), "2", "sample_size")


def test_a_result_that_is_not_finite_is_said_and_not_drawn_black(
    host: Host, client: Client, models: Path
) -> None:
    folder = models / "endless"
    toys.write_checkpoint(folder, toys.TINY, scheduler={})
    path = folder / weights_name(folder)
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors["conv_out.weight"].fill_(1e38)  # finite itself, but no sum of it is
    save_file(tensors, path)
    for sampler in ("PNDM", "DDIM"):
        prompt = graph(sampler, "endless", filename_prefix="endless")
        fails(client, prompt, "2", "NaN or infinite")
    assert not list(host.output.rglob("endless*"))


def test_a_model_of_another_kind_is_refused_with_what_to_connect(client: Client) -> None:
    prompt = graph()
    prompt["1"] = {"class_type": "TestForeignModel", "inputs": {}}
    fails(client, prompt, "2", "Connect 'Load Unconditional UNet'")


def test_a_full_or_unwritable_output_folder_is_said_and_leaves_nothing_half_written(
    host: Host, client: Client
) -> None:
    # A file where the folder should be: no user, not even root, can write below it.
    (host.output / "blocked").write_text("")
    fails(client, graph(filename_prefix="blocked/x"), "3", "cannot be saved")
    assert not list(host.output.rglob("*.unfinished"))


def test_a_latent_of_another_shape_is_an_error_in_words(client: Client) -> None:
    prompt = graph()
    prompt["2"] = {
        "class_type": "EmptyHunyuanLatentVideo",
        "inputs": {"width": 64, "height": 64, "length": 5, "batch_size": 1},
    }
    del prompt["1"]
    fails(client, prompt, "3", "needs still images")
