"""In the real ComfyUI: the files that Image Output writes."""

import bundled
import numpy as np
import ours
import pytest
import torch
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.pictures.images import latent_to_image
from float64 import FIRST_SEED, SEEDS, compare_runs
from graphs import fails, files, graph, read_metadata
from PIL import Image


def test_png_and_webp_hold_the_graph_and_how_each_picture_was_made(host, client):
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


def test_the_seed_in_a_picture_gives_the_picture_again_alone(host, client):
    batch = files(host, client.run(graph("DDPM", batch_size=3, seed=90, steps=20)))
    seed = read_metadata(batch[2])["unconditional"]["seed"]
    alone = files(host, client.run(graph("DDPM", batch_size=1, seed=seed, steps=20)))
    pictures = [np.asarray(Image.open(path)).astype(int) for path in (batch[2], alone[0])]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_npy_is_the_array_that_diffusers_calls_np(host, client, parity):
    batch = {"seed": FIRST_SEED, "batch_size": len(SEEDS)}
    run = client.run(graph(**batch, format="npy", filename_prefix="arrays/a", scale=4))
    array = np.load(host.output / "arrays" / "a_00001_.npy")
    assert array.dtype == np.float32
    assert array.shape == (16, 16, 16, 1)
    reference = (latent_to_image(final) for final in bundled.their_runs("F-PNDM", 10))
    parity("npy", compare_runs(torch.from_numpy(array), *reference))
    shown = files(host, run)
    assert [Image.open(path).size for path in shown] == [(64, 64)] * 16


def test_scale_enlarges_the_saved_picture_and_not_the_image(host, client):
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
def test_the_picture_has_the_channels_of_the_model(channels, mode, host, client, models):
    fields = {**toys.TINY, "in_channels": channels, "out_channels": channels}
    toys.write_checkpoint(models / f"channels-{channels}", fields, scheduler={"beta_end": 0.002})
    run = client.run(graph("DDIM", f"channels-{channels}"))
    assert Image.open(files(host, run)[0]).mode == mode


@pytest.mark.parametrize("channels", [2, 5])
def test_unusual_numbers_of_channels_are_saved_as_npy_only(channels, host, client, models):
    fields = {**toys.TINY, "in_channels": channels, "out_channels": channels}
    name = f"channels-{channels}"
    toys.write_checkpoint(models / name, fields, scheduler={"beta_end": 0.002})
    files(host, client.run(graph("DDIM", name, format="npy", filename_prefix=name)))
    assert np.load(host.output / f"{name}_00001_.npy").shape == (1, 8, 8, channels)
    fails(client, graph("DDIM", name), "3", f"have {channels}. Choose the format npy")
