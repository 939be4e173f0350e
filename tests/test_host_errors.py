"""In the real ComfyUI: bad input, and whether the next prompt runs after it."""

import json
import os
import shutil

import pytest
import toys
from graphs import fails, graph, model_names, save_graph

from devtools.client import Graph, RefusedError
from devtools.wires import Wires


@pytest.mark.parametrize(
    ("sampler", "inputs", "node", "words"),
    [
        ("PNDM", {"steps": 1001}, "2", "from 1 to 1000"),
        ("DDPM", {"steps": 1001}, "2", "from 1 to 1000"),
        ("DDIM", {"steps": 1001}, "2", "from 1 to 1000"),
        ("DDIM", {"eta": float("nan")}, "2", "eta must be from 0 to 1"),
        ("DDPM", {"variance_type": "learned_range"}, "2", "2 output channels"),
    ],
)
def test_a_bad_input_is_an_error_on_its_node(sampler, inputs, node, words, client):
    fails(client, graph(sampler, **inputs), node, words)


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("../outside", "outside the output folder"),
        ("x" * 300, "is too long"),
        ("a\ud800b", "is not a valid file name"),
    ],
)
def test_an_invalid_prefix_is_rejected_before_the_sampler_runs(prefix, words, client):
    with pytest.raises(RefusedError, match=words) as refusal:
        client.run(graph(filename_prefix=prefix))
    assert list(refusal.value.errors) == ["3"]
    # A prefix that comes from another node is known only when that node has run.
    prompt = graph(filename_prefix=["4", 0])
    prompt["4"] = {"class_type": "PrimitiveString", "inputs": {"value": prefix}}
    fails(client, prompt, "3", words)


UNPRINTABLE = "a\ud800b\udcffc"


def timesteps_graph(text: str) -> Graph:
    wires = Wires()
    wires("PreviewAny", source=wires.timesteps(wires.model(), timesteps=text))
    return wires.graph


@pytest.mark.parametrize(
    ("prompt", "node"),
    [
        (timesteps_graph(UNPRINTABLE), "2"),
        (save_graph("digits-16", UNPRINTABLE), "4"),
        (save_graph("digits-16", f"{UNPRINTABLE}/../x"), "4"),
        (graph(filename_prefix=UNPRINTABLE), "3"),
        (graph(filename_prefix=f"../{UNPRINTABLE}"), "3"),
        (graph(model_name=UNPRINTABLE), "1"),
        (graph(method=UNPRINTABLE), "2"),
        (
            {
                "1": {
                    "class_type": "UnconditionalUNetDownload",
                    "inputs": {"repo_id": UNPRINTABLE, "revision": "main", "variant": ""},
                },
                **{key: node for key, node in graph().items() if key != "1"},
            },
            "1",
        ),
    ],
    ids=["timesteps", "save", "save path", "output", "output path", "model", "choice", "download"],
)
def test_text_that_cannot_be_printed_is_an_error_after_which_the_next_prompt_runs(
    prompt, node, client
):
    failed: list[str] = []
    try:
        run = client.run(prompt)
        if run.error is not None:
            failed = [run.error["node_id"]]
            run.error["exception_message"].encode()
    except RefusedError as error:
        failed = list(error.errors)
    assert node in failed
    assert client.run(graph(seed=1)).error is None


def test_a_model_whose_folder_has_a_name_of_no_encoding_is_rejected_and_the_next_prompt_runs(
    client, models
):
    folder = models / os.fsdecode(b"na\xefve-\xff")
    toys.write_checkpoint(folder, toys.TINY, scheduler={})
    try:
        assert folder.name in model_names(client)
        fails(client, graph(model_name=folder.name), "1", "not valid UTF-8. Rename it.")
        (folder / "config.json").write_text("{")
        fails(client, graph(model_name=folder.name), "1", "not valid JSON")
    finally:
        shutil.rmtree(folder)


def test_a_missing_model_is_rejected_with_what_to_do(client):
    with pytest.raises(RefusedError, match="The model 'somebody/elses' was not found") as refusal:
        client.run(graph(model_name="somebody/elses"))
    assert "1" in refusal.value.errors


def test_a_partly_valid_graph_is_rejected_with_the_invalid_part(client):
    prompt = graph(steps=2)
    prompt["4"] = {"class_type": "UnconditionalImageOutput", "inputs": prompt["3"]["inputs"].copy()}
    prompt["4"]["inputs"]["scale"] = 17
    with pytest.raises(RefusedError, match="17") as refusal:
        client.run(prompt)
    assert list(refusal.value.errors) == ["4"]


# One of each class of error; test_checkpoint.py has all kinds of damage.
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("diffusion_pytorch_model.safetensors", None, "has no weights"),
        ("scheduler_config.json", {"beta_schedule": "steep"}, "beta_schedule"),
        ("config.json", {**toys.TINY, "up_block_types": ["CrossAttnUpBlock2D"] * 2}, "CrossAttnUp"),
    ],
    ids=["weights", "scheduler", "block"],
)
def test_a_broken_model_is_an_error_on_the_loader(name, content, words, client, models):
    folder = models / f"broken {words}"
    toys.write_checkpoint(folder, toys.TINY, scheduler={})
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(json.dumps(content))
    fails(client, graph(model_name=folder.name), "1", words)


# One of each class of error; test_checkpoint.py has all kinds of damage.
def test_a_model_without_a_size_is_an_error_on_the_sampler(client, models):
    toys.write_checkpoint(models / "sizeless", toys.TINY, scheduler={})
    (models / "sizeless" / "config.json").write_text(json.dumps({**toys.TINY, "sample_size": None}))
    fails(client, graph(model_name="sizeless"), "2", "sample_size")


def test_a_result_that_is_not_finite_is_an_error_and_not_a_black_picture(host, client, models):
    folder = models / "endless"
    toys.write_checkpoint(folder, toys.TINY, scheduler={})
    # Finite itself, but no sum of it is.
    toys.change_weights(folder, lambda weights: weights["conv_out.weight"].fill_(1e38))
    for sampler in ("PNDM", "DDIM"):
        prompt = graph(sampler, "endless", filename_prefix="endless")
        fails(client, prompt, "2", "NaN or infinite")
    assert not list(host.output.rglob("endless*"))


def test_a_full_or_unwritable_output_folder_is_reported_and_leaves_no_partial_file(host, client):
    # A file where the folder should be: no user, not even root, can write below it.
    (host.output / "blocked").write_text("")
    fails(client, graph(filename_prefix="blocked/x"), "3", "cannot be saved")
    assert not list(host.output.rglob("*.unfinished"))


def test_a_latent_of_the_wrong_shape_is_rejected_with_an_explanation(client):
    prompt = graph()
    prompt["2"] = {
        "class_type": "EmptyHunyuanLatentVideo",
        "inputs": {"width": 64, "height": 64, "length": 5, "batch_size": 1},
    }
    del prompt["1"]
    fails(client, prompt, "3", "needs still images")


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("PNDMSampler", {"seed": 1}),
        ("UNetSave", {}),
        ("NoiseSchedule", {"prediction_type": "sample"}),
        ("EmptyLatent", {}),
        ("ImageToLatent", {"image": None}),
        ("SeamlessTiling", {"directions": "both"}),
        ("ConsistencySampler", {"seed": 1}),
    ],
)
def test_a_model_of_another_kind_is_rejected_with_what_to_connect(node, inputs, wires, client):
    if "image" in inputs:
        inputs = {"image": wires("EmptyImage", width=16, height=16, batch_size=1, color=0)}
    key = wires(f"Unconditional{node}", model=wires("TestForeignModel"), **inputs)[0]
    if node != "UNetSave":
        wires("PreviewAny", source=[key, 0])
    fails(client, wires.graph, key, "Connect 'Load Unconditional UNet'")


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        *(("PNDMSampler", {name: value}) for name, value in (("steps", 0), ("batch_size", 0))),
        *(("PNDMSampler", {name: value}) for name, value in (("method", "RK45"), ("seed", -1))),
        ("UNetLoader", {"dtype": "int8"}),
        *(("EmptyLatent", {name: value}) for name, value in (("width", -1), ("height", 20000))),
        ("EmptyLatent", {"batch_size": 0}),
        *(("Trajectory", {name: value}) for name, value in (("every", 0), ("sampler", "RK45"))),
        ("Trajectory", {"show": "eps"}),
        *(("ImageOutput", {name: value}) for name, value in (("scale", 17), ("format", "gif"))),
        *(("ImageOutput", {"columns": value}) for value in (-1, 1001)),
        *(("ImageOutput", {"fps": value}) for value in (0.0, float("nan"))),
    ],
    ids=str,
)
def test_a_value_beyond_the_widget_is_rejected_by_name(node, inputs, wires, client):
    # The host rejects most; NaN passes it, and an older one does not compare choices.
    wires("UnconditionalUNetLoader", model_name="digits-16")
    wires("UnconditionalEmptyLatent", model=["1", 0])
    links = {"ImageOutput": {"samples": ["2", 0]}, "UNetLoader": {"model_name": "digits-16"}}
    given = links.get(node, {"model": ["1", 0]}) | inputs
    last = wires(f"Unconditional{node}", **given)
    if node != "ImageOutput":
        wires("PreviewAny", source=last)

    def message() -> str:
        try:
            run = client.run(wires.graph)
        except RefusedError as error:
            return str(error)
        return run.error["exception_message"] if run.error else ""

    ((name, value),) = inputs.items()
    assert name in message()
    assert str(value) in message()
