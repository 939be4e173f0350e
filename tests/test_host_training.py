"""In the real ComfyUI: the node that trains."""

import json
import shutil
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import fails, graph, interrupt_at, model_names
from PIL import Image

from devtools.client import Graph, Run
from devtools.contract import defaults
from devtools.host import Host
from devtools.wires import Wires

TINY = {"network": "small", "batch_size": 2, "precision": "float32", "preview_every": 0, "size": 8}


@pytest.fixture
def output(host: Host) -> Path:
    """The folder of the trained models, empty."""
    folder = host.output / "diffusers"
    shutil.rmtree(folder / "trained", ignore_errors=True)
    return folder


def train(folder: Path | str, wires: Wires | None = None, **inputs: Any) -> Graph:
    w = wires or Wires()
    given = {"folder": str(folder), "name": "trained/model", "steps": 4}
    w("UnconditionalTrain", **defaults("UnconditionalTrain") | TINY | given | inputs)
    return w.graph


def report(run: Run, node: str = "1") -> dict[str, Any]:
    assert run.error is None, run.error
    return json.loads(run.outputs[node]["unconditional_training"][0])


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "training.pt", weights_only=True)


def test_a_folder_of_pictures_becomes_a_model_that_draws_and_is_listed(
    client, output, picture_folder
):
    (picture_folder / "damaged.png").write_bytes(b"no picture")
    w = Wires()
    given = defaults("UnconditionalTrain") | TINY | {"folder": str(picture_folder), "steps": 4}
    given |= {"name": "trained/model", "preview_every": 2}
    trained = w("UnconditionalTrain", **given)
    sampler = {"seed": 0, "steps": 3, "batch_size": 2}
    samples = w("UnconditionalDDIMSampler", model=trained, **sampler)
    w("UnconditionalImageOutput", samples=samples, filename_prefix="trained", scale=1)
    w("LossGraphNode", loss=[trained[0], 1], filename_prefix="loss")
    run = client.run(w.graph)

    shown = report(run)
    assert (shown["state"], shown["step"], shown["pictures"]) == ("finished", 4, 3)
    assert shown["size"] == [8, 8]
    assert any("damaged.png" in note for note in shown["notes"])
    assert [step for step, _ in shown["losses"]] == [1, 2, 3, 4]
    assert shown["grid"]["averaged"].startswith("data:image/png;base64,")
    assert len(run.outputs["3"]["images"]) == 2
    assert run.outputs["4"]["images"]
    assert "trained/model" in model_names(client)
    loaded = client.run(graph(model_name="trained/model"))
    assert loaded.error is None, loaded.error


def test_cancel_saves_and_run_continues_to_the_weights_of_an_uninterrupted_run(
    client, output, picture_folder
):
    whole = train(picture_folder, name="trained/whole", steps=12, small_data="on")
    assert report(client.run(whole))["state"] == "finished"
    parts = train(picture_folder, name="trained/parts", steps=12, small_data="on")
    stopped = client.run(parts, interrupt_at(client, 3))
    assert stopped.interrupted
    done = state(output / "trained" / "parts")["step"]
    assert 3 <= done < 12
    last = client.get("/unconditional/training?node=1")
    assert last["state"] == "stopped"
    assert last["saved"][-1] == done

    shown = report(client.run(parts))
    assert shown["first_step"] == done
    a, b = state(output / "trained" / "whole"), state(output / "trained" / "parts")
    for name in ("model", "averaged"):
        assert all(torch.equal(a[name][key], b[name][key]) for key in a[name]), name
    assert a["losses"] == b["losses"]


def test_more_steps_and_pictures_continue_and_other_settings_start_a_new_run(
    client, output, picture_folder
):
    client.run(train(picture_folder))
    Image.new("RGB", (10, 10), "red").save(picture_folder / "new.png")
    more = report(client.run(train(picture_folder, steps=6)))
    assert (more["name"], more["first_step"], more["pictures"]) == ("trained/model", 4, 4)
    card = (output / "trained" / "model" / "README.md").read_text("utf-8")
    assert "3 from step 1" in card
    assert "4 from step 5" in card

    other = report(client.run(train(picture_folder, learning_rate=1e-3)))
    assert (other["name"], other["first_step"]) == ("trained/model_00002", 0)
    assert state(output / "trained" / "model")["step"] == 6


def test_a_card_that_cannot_be_written_is_reported_and_the_model_is_kept(
    client, output, picture_folder
):
    client.run(train(picture_folder))
    card = output / "trained" / "model" / "README.md"
    card.unlink()
    card.mkdir()
    shown = report(client.run(train(picture_folder, steps=6)))
    assert (shown["state"], shown["step"]) == ("finished", 6)
    assert any("The model card cannot be written" in note for note in shown["notes"])
    assert "trained/model" in model_names(client)


def test_a_finished_run_is_not_trained_again(client, output, picture_folder):
    client.run(train(picture_folder))
    before = (output / "trained" / "model" / "training.pt").read_bytes()
    # Other values of options that do not matter, so that the host runs the node.
    again = report(client.run(train(picture_folder, save_every=7)))
    assert again["first_step"] == again["step"] == 4
    assert (output / "trained" / "model" / "training.pt").read_bytes() == before


def test_images_of_other_nodes_are_trained_on_in_their_own_sizes(client, output, wires):
    images = wires("EmptyImage", width=12, height=9, batch_size=3, color=255)
    prompt = train("", wires, images=images, crop="random", flip=True, rotate=True)
    assert report(client.run(prompt), "2")["pictures"] == 3


def test_training_starts_from_a_model(client, output, wires):
    model = wires.model()
    images = wires("EmptyImage", width=16, height=16, batch_size=3, color=255)
    prompt = train("", wires, images=images, model=model, size=0, steps=2)
    shown = report(client.run(prompt), "3")
    assert (shown["size"], shown["channels"]) == ([16, 16], 1)
    config = json.loads((output / "trained" / "model" / "unet" / "config.json").read_text())
    assert config["block_out_channels"] == [32, 64, 96]
    assert "digits-16" in (output / "trained" / "model" / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"folder": ""}, "Enter a folder, or connect images"),
        ({"folder": "no such folder"}, "does not exist"),
        ({"background": "octarine"}, "is not a colour"),
        ({"size": 9}, "do not fit the network"),
        ({"name": "../elsewhere"}, "is not a valid model name"),
    ],
)
def test_a_users_mistake_is_an_error_on_the_node(client, output, picture_folder, inputs, words):
    fails(client, train(**{"folder": picture_folder} | inputs), "1", words)
    assert client.get("/unconditional/training?node=1")["state"] == "failed"


def test_a_folder_and_images_at_once_are_rejected(client, output, picture_folder, wires):
    images = wires("EmptyImage", width=12, height=9, batch_size=1, color=255)
    fails(client, train(picture_folder, wires, images=images), "2", "Both a folder and images")


def test_before_a_run_the_editor_shows_what_would_be_trained(client, picture_folder):
    values = defaults("UnconditionalTrain") | {"folder": str(picture_folder)}

    def plan(**changes: Any) -> dict[str, Any]:
        return client.post("/unconditional/training/plan", values | changes)

    planned = plan()
    assert planned["size"] == [8, 8]
    assert planned["pictures"] == 3
    assert 1e6 < planned["parameters"] < 2e6
    assert plan(batch_size=64)["memory"] > planned["memory"]
    assert "does not exist" in plan(folder="/no such folder")["error"]
    assert plan(linked=["images"]) == {}


def test_the_last_report_of_an_unknown_node_is_empty(client):
    node = urllib.parse.quote("7:99")
    assert client.get(f"/unconditional/training?node={node}") == {}
