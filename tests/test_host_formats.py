"""One graph for each family of checkpoint formats, in the real ComfyUI."""

import json
import shutil
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import ours
import pytest
import test_formats
import test_openai_large
import torch
import toys
from graphs import files, graph, model_names, save_graph
from PIL import Image


def put_ho(models: Path) -> str:
    (models / "pesser").mkdir()
    torch.save([foreign.Ho().state_dict(), {}, 1, 2], models / "pesser" / "train.ckpt")
    return "pesser/train.ckpt"


def put_improved(models: Path) -> str:
    fields = {**test_formats.IMPROVED["CIFAR-10"], "layers": 1}
    model = foreign.randomise(foreign.OpenAI(**fields))
    test_formats.save(model, models / "cifar10_uncond.pt")
    return "cifar10_uncond.pt"


def put_guided(models: Path) -> str:
    model = foreign.OpenAI(**test_formats.GUIDED["256"])
    test_formats.save(model, models / "guided.pt", {"sample_size": 32})
    return "guided.pt"


def put_early(models: Path) -> str:
    model = toys.reference_model(toys.TINY)
    folder = models / "early"
    folder.mkdir()
    names = {"sample_size": "image_size", "block_out_channels": "block_channels"}
    names |= {"layers_per_block": "num_res_blocks", "freq_shift": "downscale_freq_shift"}
    names |= {"norm_num_groups": "resnet_num_groups", "norm_eps": "resnet_eps"}
    names |= {"down_block_types": "down_blocks", "up_block_types": "up_blocks"}
    names |= {"attention_head_dim": "num_head_channels"}
    config = {names.get(name, name): value for name, value in toys.TINY.items()}
    config["_class_name"] = "UNetUnconditionalModel"
    (folder / "config.json").write_text(json.dumps(config))
    weights = test_formats.with_copies(model.state_dict())
    torch.save(weights, folder / "diffusion_pytorch_model.bin")
    return "early"


def put_single(models: Path) -> str:
    model = toys.reference_model(toys.TINY)
    given = {**test_formats.whole(toys.TINY), "scheduler": {"beta_end": 0.002}}
    test_formats.save(model, models / "single.safetensors", given)
    return "single.safetensors"


def put_shards(models: Path) -> str:
    toys.write_checkpoint(models / "shards", toys.TINY, scheduler={})
    test_formats.shard(models / "shards", "fp16")
    return "shards@fp16"


@pytest.mark.parametrize(
    "put", [put_ho, put_improved, put_guided, put_early, put_single, put_shards]
)
def test_a_model_of_each_format_is_listed_and_samples(put, host, client, models):
    name = put(models)
    assert name in model_names(client)
    for sampler in ("DDPM", "PNDM"):
        run = client.run(graph(sampler, name, steps=4))
        size = 8 if put in (put_early, put_single, put_shards) else 32
        assert Image.open(files(host, run)[0]).size == (size, size)


def test_a_network_beyond_diffusers_draws_the_same_picture_after_saving(host, client, models):
    fields, size, given = test_openai_large.NARROWED["portrait_generator"]
    model = foreign.randomise(foreign.OpenAI(**fields))
    test_formats.save(model, models / "portrait.pt", {**given, "sample_size": size})
    prompt = save_graph("portrait.pt", "large/portrait")
    prompt["2"]["inputs"]["steps"] = 4
    run = client.run(prompt)
    assert report(run)["channels"] == 3
    before = Image.open(files(host, run)[0])
    assert before.size == (size, size)
    assert "diffusers' UNet2DModel cannot express this network" in run.outputs["4"]["text"][0]
    assert "large/portrait" in model_names(client)
    again = client.run(graph(model_name="large/portrait", steps=4))
    assert report(again)["warnings"] == []
    assert np.array_equal(np.asarray(before), np.asarray(Image.open(files(host, again)[0])))


# The loader's report in its node


def report(run: Any, node: str = "1") -> dict[str, Any]:
    assert run.error is None, run.error
    return json.loads(run.outputs[node]["unconditional_model"][0])


def test_a_loader_reports_what_its_model_is_and_what_was_assumed(host, client, models):
    name = put_improved(models)
    described = report(client.run(graph("PNDM", name, steps=2)))
    assert described["format"] == "OpenAI (improved- or guided-diffusion)"
    assert (described["size"], described["channels"], described["process"]) == ([32, 32], 3, "DDPM")
    assert (described["prediction"], described["timesteps"]) == ("epsilon", 4000)
    assert described["averaged"] is None
    assert described["parameters"] == 1_807_782
    assert described["assumed"]["attention_head_dim"] == 16
    assert described["schedule"]["beta_schedule"] == "squaredcos_cap_v2"
    assert (described["json"], described["written"], described["warnings"]) == (
        "cifar10_uncond.json",
        None,
        [],
    )


def test_a_loader_reports_also_when_the_host_answers_from_its_cache(host, client, models):
    shutil.copytree(ours.DIGITS, models / "cached")
    first = client.run(graph("PNDM", "cached", steps=3, seed=91))
    described = report(first)
    assert (described["format"], described["size"], described["assumed"]) == (
        "diffusers",
        [16, 16],
        {},
    )
    again = client.run(graph("PNDM", "cached", steps=3, seed=91))
    if "1" in again.outputs:
        assert report(again) == described
    else:  # Hosts before 0.30 do not send it again; the editor keeps what it shows.
        assert host.version < (0, 30)


def test_a_loader_writes_down_what_it_assumed_and_never_twice(client, models):
    name = put_improved(models)
    (models / name).rename(models / "written.pt")
    path = models / "written.json"

    def run(write_json: bool = True) -> dict[str, Any]:
        prompt = graph("PNDM", "written.pt", steps=2)
        prompt["1"]["inputs"]["write_json"] = write_json
        return report(client.run(prompt))

    assert run(False)["written"] is None
    assert not path.exists()
    assert run()["written"] == {"how": "written"}
    content = path.read_text()
    assert json.loads(content)["scheduler"]["num_train_timesteps"] == 4000
    described = run()
    assert described["written"] == {"how": "nothing"}
    assert described["assumed"] == {}
    path.write_text('{"sample_size": 32}')
    assert run()["written"] == {"how": "exists"}
    assert path.read_text() == '{"sample_size": 32}'


def test_a_json_that_cannot_be_written_does_not_stop_the_loading(client, models):
    folder = models / "no schedule"
    toys.write_checkpoint(folder, toys.TINY, layout="pipeline")
    (folder / "model_index.json").write_text("{}")
    (folder / "scheduler").write_text("a file where a folder should be")
    prompt = graph("PNDM", "no schedule", steps=2)
    prompt["1"]["inputs"]["write_json"] = True
    described = report(client.run(prompt))
    assert described["written"]["how"] == "failed"
    assert described["written"]["reason"]
    assert described["schedule"]["beta_schedule"] == "linear"


def test_a_download_reports_its_model_too(hub, client):
    from test_host_models import digits_repository, download_graph

    hub.reset()
    hub.repos["somebody/reported"] = digits_repository()
    described = report(client.run(download_graph("somebody/reported")))
    assert (described["format"], described["channels"], described["timesteps"]) == (
        "diffusers",
        1,
        1000,
    )
