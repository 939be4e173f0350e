"""In the real ComfyUI: the workflows that were saved with each release."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import toys
from graphs import files, graph
from hub_lookalike import COMMIT, Repo
from PIL import Image

from devtools.contract import NODES, defaults
from devtools.environment import ROOT
from devtools.workflows import to_prompt

FOLDER = ROOT / "tests" / "workflows"
RELEASES = sorted(
    (path.stem for path in FOLDER.glob("*.json")),
    key=lambda release: [int(number) for number in release.split(".")],
)


def read(release: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{release}.json").read_text("utf-8"))


def with_classes(folder: Path, scheduler: str = "DDPMScheduler") -> Repo:
    """The model `somebody/classes` that the saved workflows download: fp16, with classes."""
    fields = {**toys.TINY, "num_class_embeds": 4}
    toys.write_checkpoint(folder, fields, scheduler={"_class_name": scheduler})
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    return Repo(toys.contents(folder))


@pytest.mark.parametrize("release", RELEASES)
def test_a_saved_workflow_means_what_it_meant_and_runs(
    release, hub, host, client, models, tmp_path
):
    workflow = read(release)
    prompt = to_prompt(workflow, client.get("/object_info"))
    for node, meant in workflow["extra"]["meant"].items():
        inputs = prompt[node]["inputs"]
        literal = {name: value for name, value in inputs.items() if not isinstance(value, list)}
        # An input that was added later has no value in it, and takes its default.
        assert literal == meant, prompt[node]["class_type"]
    hub.reset()
    hub.repos["somebody/classes"] = with_classes(tmp_path / "classes")
    hub.repos["somebody/consistency"] = with_classes(
        tmp_path / "consistency", "CMStochasticIterativeScheduler"
    )
    for name in ("classes", "consistency"):
        shutil.rmtree(models / f"somebody--{name}@{COMMIT}", ignore_errors=True)
    (host.folder / "input" / "saved-pictures").mkdir(parents=True, exist_ok=True)
    for k in range(3):
        picture = Image.new("RGB", (12, 10), (80 * k, 40, 200))
        picture.save(host.folder / "input" / "saved-pictures" / f"{k}.png")
    (host.folder / "input" / "saved-digits").mkdir(parents=True, exist_ok=True)
    for k in range(24):
        digit = Image.new("L", (16, 16), 10 * k)
        digit.save(host.folder / "input" / "saved-digits" / f"{k:02}.png")
    client.run(graph())  # so that nothing of another release is in the host's cache
    run = client.run(prompt)
    assert run.error is None, run.error
    # By their kinds: the host runs one of two nodes with equal inputs.
    kinds = {node["class_type"] for node in prompt.values()}
    ran = {prompt[key]["class_type"] for key in run.executed}
    assert {kind for kind in kinds if kind.startswith("Unconditional")} <= ran
    outputs = [key for key, node in prompt.items() if "ImageOutput" in node["class_type"]]
    assert outputs
    for node in outputs:
        assert all(path.stat().st_size for path in files(host, run, node))


def test_each_release_has_its_saved_workflow():
    pyproject = tomlkit.parse((ROOT / "pyproject.toml").read_text("utf-8")).unwrap()
    assert pyproject["project"]["version"] in RELEASES, "run: python -m devtools.saved_workflow"


def test_the_newest_has_every_node_with_no_default_on_any_input():
    newest = read(RELEASES[-1])
    kinds = {str(node["id"]): node["type"] for node in newest["nodes"]}
    hint = "add it to devtools/graphs.py and run: python -m devtools.saved_workflow"
    assert set(NODES) <= set(kinds.values()), hint
    stored = {str(node["id"]): node.get("widgets_values", []) for node in newest["nodes"]}
    uncontrolled = (
        "UnconditionalTrain",
        "UnconditionalOptimiseTimesteps",
        "UnconditionalGenerateMany",
    )
    for node, meant in newest["extra"]["meant"].items():
        kind = kinds[node]
        # A sampler's seed has one more value, for control after a run; nothing that a script adds
        # is stored.
        controlled = "seed" in meant and kind not in uncontrolled
        assert len(stored[node]) == len(meant) + controlled, kind
        widgets = defaults(kind, "inputs", "optional")
        assert set(meant) - {"model_name", "classifier"} == set(widgets), kind
        for name, default in widgets.items():
            assert meant[name] != default, f"{kind}.{name}"
