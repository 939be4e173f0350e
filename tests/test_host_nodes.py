"""In the real ComfyUI: registration, the main job, previews, cancel."""

import io
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import ours
import pytest
import torch
import toys
from comfyui_unconditional.models.digits import digits as real_digits
from comfyui_unconditional.models.judge import as_saved, compare
from graphs import digits, files, graph, interrupt_at, model_names
from PIL import Image, ImageSequence
from templates import NAMES, SHORTER, put_inputs, saved, shorten

from devtools.client import Client
from devtools.contract import NODES, is_type
from devtools.host import Host
from devtools.workflows import to_prompt

EXAMPLES = [
    "quick_start_pndm",
    "quick_start.app",
    "ddpm",
    "ddim",
    "native_ksampler",
    "image_to_image",
    "half_core_half_pndm",
    "noise_schedules",
]


# Registration


def test_the_running_host_is_the_comfyui_that_the_test_names(host, client, request):
    version = client.get("/system_stats")["system"]["comfyui_version"]
    assert f"[ComfyUI-{version}]" in request.node.name
    assert version.startswith(".".join(map(str, host.version)))


def test_the_nodes_are_those_that_saved_workflows_depend_on(client):
    info = client.get("/object_info")
    assert {name for name in info if name.startswith("Unconditional")} == set(NODES)
    for node_id, expected in NODES.items():
        found = info[node_id]
        assert found["display_name"] == expected["title"]
        assert found["category"] == "unconditional"
        assert found["description"]
        assert found["output"] == expected["outputs"]
        # Saved workflows keep values by position: new inputs come last.
        optional = expected.get("optional", {})
        assert found["input_order"]["required"] == list(expected["inputs"])
        assert found["input_order"].get("optional", []) == list(optional)
        declared = {**found["input"]["required"], **found["input"].get("optional", {})}
        for name, default in {**expected["inputs"], **optional}.items():
            kind, options = declared[name]
            assert options["tooltip"], f"{node_id}.{name} has no tooltip"
            if isinstance(default, list):
                assert (options.get("options") or kind) == default
            elif is_type(default):
                assert kind == default
            elif default is not None:
                assert options["default"] == default
    seed = info["UnconditionalPNDMSampler"]["input"]["required"]["seed"][1]
    assert seed["control_after_generate"]
    assert seed["max"] == 2**64 - 1
    scale = info["UnconditionalImageOutput"]["input"]["required"]["scale"][1]
    assert (scale["min"], scale["max"]) == (1, 16)


def test_a_model_folder_appears_when_it_is_added(client, models):
    assert model_names(client)[:2] == ["deep-field", "digits-16"]
    toys.write_checkpoint(models / "mine" / "deep" / "tiny", toys.TINY)
    toys.write_checkpoint(models / "pipeline", toys.TINY, layout="pipeline", scheduler={})
    names = model_names(client)
    assert "mine/deep/tiny" in names
    assert "pipeline" in names
    assert "pipeline/unet" not in names


# The main job


def drawn_by_example(name: str, host: Host, client: Client, **inputs: Any) -> list[list[Path]]:
    """The pictures of each Image Output of an example that is run with ``SHORTER``'s values.

    The inputs are Image Output's.
    """
    prompt = to_prompt(saved(name), client.get("/object_info"))
    shorten(name, prompt)
    outputs = {k: n for k, n in prompt.items() if n["class_type"] == "UnconditionalImageOutput"}
    for node in outputs.values():
        node["inputs"] |= inputs
    run = client.run(prompt)
    return [files(host, run, key) for key in sorted(outputs)]


def as_array(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_workflow_runs(name, host, client):
    *_, (sheet,) = drawn_by_example(name, host, client)
    pixels = as_array(sheet)
    assert pixels.shape == (4 * 136 - 8, 4 * 136 - 8)
    # Digits are white on black: some of both, in each.
    for top, left in itertools.product(range(0, 4 * 136, 136), repeat=2):
        digit = pixels[top : top + 128, left : left + 128]
        assert digit.max() > 200
        assert digit.min() < 30


def test_the_example_with_a_checkpoint_runs_on_a_model_shaped_like_it(client):
    prompt = to_prompt(saved("pndm_on_a_checkpoint"), client.get("/object_info"))
    stand_ins: dict[str, dict[str, Any]] = {
        "CheckpointLoaderSimple": {"class_type": "TestTinyModel"},
        "CLIPTextEncode": {"class_type": "TestConditioning", "inputs": {"seed": 1}},
        "SaveImage": {"class_type": "TestSaveLatent"},
    }
    stand_ins["CheckpointLoaderSimple"]["inputs"] = {"kind": "EPS", "seed": 0}
    sampler = next(k for k, node in prompt.items() if node["class_type"] == "SamplerCustomAdvanced")
    stand_ins["SaveImage"]["inputs"] = {"samples": [sampler, 0], "name": "checkpoint"}
    prompt = {
        key: stand_ins.get(node["class_type"], node)
        for key, node in prompt.items()
        if node["class_type"] != "VAEDecode"
    }
    empty = next(node for node in prompt.values() if node["class_type"] == "EmptyLatentImage")
    empty["inputs"] |= {"width": 64, "height": 64}
    run = client.run(prompt)
    assert run.error is None, run.error
    assert run.progress[-1] == (34, 34)  # 25 steps and the warm-up


def test_the_example_of_any_size_draws_a_dark_sky_with_bright_stars(host, client):
    (paths,) = drawn_by_example("any_size_sky", host, client)
    pixels = np.asarray(Image.open(paths[0]).convert("L"))
    assert pixels.shape == (64, 128)
    assert np.median(pixels) < 30
    assert pixels.max() > 120


@pytest.mark.parametrize(
    ("name", "size"),
    [("train_on_your_pictures", (4 * 36 - 4, 4 * 36 - 4)), ("train_on_one_picture", (96, 64))],
)
def test_an_example_that_trains_draws_with_its_model(name, size, host, client):
    put_inputs(host)
    (paths,) = drawn_by_example(name, host, client)
    assert Image.open(paths[0]).size == size


def test_the_example_of_a_wallpaper_draws_a_sky_whose_opposite_edges_meet(host, client):
    (paths,) = drawn_by_example("seamless_wallpaper", host, client)
    pixels = np.asarray(Image.open(paths[0]).convert("L")).astype(int)
    assert pixels.shape == (64, 128)
    inner = np.abs(np.diff(pixels, axis=1)).mean()
    assert np.abs(pixels[:, 0] - pixels[:, -1]).mean() < 2 * inner


def test_the_example_of_outpainting_keeps_the_sky_that_it_continues(host, client):
    drawn = drawn_by_example("outpainting", host, client, scale=1)
    part, whole = (as_array(paths[0]) for paths in drawn)
    assert (part.shape, whole.shape) == ((64, 64, 3), (96, 96, 3))
    assert np.abs(whole[16:80, 16:80] - part).max() <= 1
    assert np.median(whole) < 30
    assert whole[:16].max() > 60


def test_the_example_of_a_walk_draws_a_film_of_different_skies(host, client):
    (paths,) = drawn_by_example("looping_walk", host, client)
    film = Image.open(paths[0])
    assert film.n_frames == 8
    frames = [np.asarray(frame.convert("L")).astype(int) for frame in ImageSequence.Iterator(film)]
    assert frames[0].shape == (256, 256)
    for before, after in zip(frames, [*frames[1:], frames[0]], strict=True):
        assert 1 < np.abs(before - after).mean() < 40


def test_the_example_that_inverts_draws_variations_of_its_sky(host, client):
    drawn = drawn_by_example("invert_and_vary", host, client, grid=False)
    (sky,), variations = ([as_array(path) for path in paths] for paths in drawn)
    assert len(variations) == 4
    for one in variations:
        assert 0.4 < np.corrcoef(one.ravel(), sky.ravel())[0, 1] < 0.999


def test_the_example_that_restores_draws_digits_with_the_small_pictures_it_was_given(host, client):
    drawn = drawn_by_example("restore", host, client, grid=False, scale=1)
    whole, restored = ([as_array(path) for path in paths] for paths in drawn)
    assert (len(whole), len(restored)) == (4, 16)
    small = [digit.reshape(4, 4, 4, 4).mean((1, 3)) for digit in (*whole, *restored)]
    for k, found in enumerate(small[4:]):
        assert np.abs(found - small[k % 4]).max() <= 1.5


def test_the_example_of_dark_pictures_is_grey_before_says_so_and_is_dark_after(host, client):
    prompt = to_prompt(saved("dark_pictures"), client.get("/object_info"))
    for key in ("4", "5"):
        prompt[key]["inputs"]["steps"] = 2  # which start at the same timestep as its 501
    run = client.run(prompt)
    assert run.error is None, run.error
    drift = [json.loads(run.outputs[k]["unconditional_run"][0])["drift"] for k in ("4", "5")]
    assert drift == ["late_start", None]
    before, after = (np.asarray(Image.open(files(host, run, k)[0])).mean() for k in ("6", "7"))
    assert before > 1.5 * after


def test_the_example_that_enlarges_draws_a_large_sky_that_reduces_to_the_small_one(host, client):
    small, large = (as_array(paths[0]) for paths in drawn_by_example("enlarge", host, client))
    assert large.shape == (256, 256, 3)
    again = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(again - small).max() <= 1.5


def test_the_example_on_demand_draws_sevens(host, client):
    prompt = to_prompt(saved("a_seven_on_demand"), client.get("/object_info"))
    key = next(k for k, n in prompt.items() if n["class_type"] == "UnconditionalImageOutput")
    prompt[key]["inputs"] |= {"grid": False, "scale": 1}
    sampler = next(n for n in prompt.values() if n["class_type"] == "UnconditionalDDIMSampler")
    sampler["inputs"]["batch_size"] = 20
    run = client.run(prompt)
    (report,) = (
        out["unconditional_run"] for out in run.outputs.values() if "unconditional_run" in out
    )
    assert json.loads(report[0])["drift"] is None  # steered images are not clipped again
    paths = files(host, run, key)
    drawn = torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in paths])
    real, labels = real_digits()
    found = compare(drawn[:, None] / 127.5 - 1, as_saved(real), labels)
    assert found.shares[7] >= 0.95


def test_every_example_is_run_by_a_test():
    elsewhere = {"a_seven_on_demand", "enlarge", "pndm_on_a_checkpoint"}
    elsewhere |= {"progressive_generation", "restore"}
    assert set(NAMES) == {*EXAMPLES, *SHORTER, *elsewhere}


def test_the_picture_is_that_of_the_core_and_of_diffusers(host, client):
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
    sampler, inputs, evaluations, host, client
):
    run = client.run(graph(sampler, seed=1000 + evaluations, **inputs))
    picture = np.asarray(Image.open(files(host, run)[0]))
    assert run.progress[-1] == (evaluations, evaluations)
    assert {maximum for _, maximum in run.progress} == {evaluations}
    assert len(run.previews) == evaluations
    preview = Image.open(io.BytesIO(run.previews[-1])).convert("L").resize((16, 16))
    likeness = np.corrcoef(np.asarray(preview).ravel(), picture.ravel())[0, 1]
    assert likeness > 0.9


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_draws_nearly_the_same(dtype, host, client):
    run = client.run(graph(dtype=dtype))
    picture = np.asarray(Image.open(files(host, run)[0])) / 255
    assert np.abs(picture - digits([7])[0, ..., 0]).mean() < 0.05


def test_a_retrained_model_is_loaded_again(host, client, models):
    folder = models / "retrained"
    shutil.copytree(ours.DIGITS, folder)
    before = client.run(graph(model_name="retrained"))
    toys.change_weights(folder / "unet", lambda weights: weights["conv_out.weight"].mul_(1.05))
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
    name, fields, options, host, client, models
):
    toys.write_checkpoint(models / name, fields, **options)
    for sampler in ("PNDM", "DDPM", "DDIM"):
        run = client.run(graph(sampler, name, steps=4))
        size = fields["sample_size"]
        height, width = size if isinstance(size, list) else (size, size)
        assert Image.open(files(host, run)[0]).size == (width, height)


def test_a_model_without_a_scheduler_file_gives_a_warning(host, client, models):
    toys.write_checkpoint(models / "bare", toys.TINY)
    files(host, client.run(graph("DDIM", "bare")))
    log = host.log.read_text(errors="replace")
    assert "bare has no scheduler_config.json. Using the defaults" in log
    assert "'beta_end': 0.02" in log


# Cancel


def test_cancel_stops_within_an_evaluation_and_the_next_prompt_runs(host, client):
    prompt = graph("DDPM", steps=1000, batch_size=16, seed=4)
    run = client.run(prompt, interrupt_at(client, 5))
    assert run.interrupted
    assert run.error is None
    assert run.progress[-1][0] < 100
    files(host, client.run(graph()))
