"""In the real ComfyUI: model files that change on disk while their MODEL is loaded."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import toys
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from graphs import files, graph, read_metadata
from PIL import Image

from devtools.client import Graph

CHANGES = ["touched", "appended to", "overwritten", "cut short", "replaced", "removed"]


@pytest.fixture
def name(models: Path, request: pytest.FixtureRequest) -> str:
    """A separate model, which the test may change."""
    own = hashlib.sha256(request.node.name.encode()).hexdigest()[:10]
    toys.write_checkpoint(models / own, toys.TINY, scheduler={})
    return own


def weights_of(models: Path, name: str) -> Path:
    return next((models / name).rglob("*.safetensors"))


def with_change(prompt: Graph, path: Path, change: str) -> Graph:
    """The graph in which the file is changed between the loader and the sampler."""
    changed = {"model": ["1", 0], "path": str(path), "kind": change}
    prompt["4"] = {"class_type": "TestChangedFile", "inputs": changed}
    prompt["2"]["inputs"]["model"] = ["4", 0]
    return prompt


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_after_it_was_loaded_changes_no_picture_and_costs_none(
    change, dtype, host, client, models, name
):
    path = weights_of(models, name)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (before,) = files(host, client.run(graph(model_name=name, dtype=dtype)))
    os.utime(path, ns=(1, 1))  # so that it is loaded again
    prompt = with_change(graph(model_name=name, dtype=dtype), path, change)
    (after,) = files(host, client.run(prompt))
    assert np.array_equal(np.asarray(Image.open(before)), np.asarray(Image.open(after)))
    assert read_metadata(after)["unconditional"]["sha256"] == sha256


def test_a_model_that_is_saved_after_its_file_was_overwritten_is_the_one_that_was_loaded(
    host, client, models, name
):
    path = weights_of(models, name)
    original = {
        key: value.clone()
        for key, value in read_checkpoint(find_files(path.parent)).weights.items()
    }
    prompt = with_change(graph(model_name=name), path, "overwritten")
    saved = {"model": ["4", 0], "filename_prefix": f"saved-{name}"}
    prompt["5"] = {"class_type": "UnconditionalUNetSave", "inputs": saved}
    assert client.run(prompt).error is None
    written = read_checkpoint(find_files(host.output / "diffusers" / f"saved-{name}")).weights
    assert all((written[key] == value).all() for key, value in original.items())


def linked(name: str) -> Graph:
    """The graph in which another node names the model."""
    prompt = graph(model_name=name)
    prompt["6"] = {"class_type": "TestAnything", "inputs": {"text": name}}
    prompt["1"]["inputs"]["model_name"] = ["6", 0]
    return prompt


def test_a_loader_whose_input_comes_from_another_node_runs_once_and_again_when_its_file_changes(
    host, client, models, name
):
    for how in (linked, lambda name: graph(model_name=name)):
        first, second = client.run(how(name)), client.run(how(name))
        files(host, first)
        assert "2" in first.executed or how is not linked
        assert {"1", "2", "3"}.isdisjoint(second.executed)
        os.utime(weights_of(models, name), ns=(len(name), 5 + (how is linked)))
        third, fourth = client.run(how(name)), client.run(how(name))
        assert {"1", "2"} <= set(third.executed)
        assert {"1", "2", "3"}.isdisjoint(fourth.executed)


def test_a_loader_whose_dtype_comes_from_another_node_runs_once(host, client, name):
    prompt = graph(model_name=name)
    prompt["6"] = {"class_type": "TestAnything", "inputs": {"text": "float16"}}
    prompt["1"]["inputs"]["dtype"] = ["6", 0]
    files(host, client.run(prompt))
    assert {"1", "2", "3"}.isdisjoint(client.run(prompt).executed)
