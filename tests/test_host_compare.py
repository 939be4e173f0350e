"""In the real ComfyUI: Compare Image Sets."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_unconditional.evaluate.comparison import compare
from comfyui_unconditional.evaluate.features import DigitFeatures
from comfyui_unconditional.evaluate.image_sets import digits_set, tensor_set
from comfyui_unconditional.evaluate.measured import measure
from graphs import fails, files
from PIL import Image
from wiring import Link, Wires

NODE = "UnconditionalCompareSets"


def drawn(wires: Wires, count: int = 64) -> Link:
    """Digits as IMAGE."""
    inputs = {"model": wires.model(), "seed": 0, "steps": 10, "batch_size": count}
    samples = wires("UnconditionalPNDMSampler", **inputs)
    return wires("UnconditionalImageOutput", samples=samples, filename_prefix="compared")


def test_the_report_has_the_figures_of_the_core_and_the_sheet_the_nearest_pairs(bench, wires):
    inputs = {"reference": "sklearn-digits", "features": "digits", "ranges": 2}
    node = wires(NODE, images=(shown := drawn(wires, 80)), **inputs)
    text, sheet = wires("PreviewAny", source=node), wires("PreviewImage", images=[node[0], 1])
    run = bench.run(wires)
    lines = run.outputs[node[0]]["text"]
    saved = [np.asarray(Image.open(path)) for path in files(bench.host, run, shown[0])]
    pixels = torch.from_numpy(np.stack(saved))[..., None] / 255
    both = tensor_set([pixels], "images"), digits_set()
    images, reference = (measure(images, DigitFeatures()) for images in both)
    expected = compare([images], reference, DigitFeatures(), 2)
    assert lines[: len(expected.lines)] == expected.lines
    assert lines[0].startswith("Fréchet distance: ")
    assert "(2 ranges of 40 images; reference 1,797)" in lines[0]
    assert "of 80 images are nearly the same" in lines[-1]
    (report,) = run.outputs[text[0]]["text"]
    record = json.loads(report[report.index("{") :])
    assert record["runs"][0]["sha256"] == images.sha256
    assert record["reference"]["sha256"] == reference.sha256
    (picture,) = run.outputs[sheet[0]]["images"]
    pixels = np.asarray(Image.open(bench.host.folder / "temp" / picture["filename"]))
    assert pixels.shape == (4 * 66 * 2 - 2, 8 * 66 - 2, 3)


def test_a_folder_is_compared_with_one_of_another_size_and_measured_again_once_it_changes(
    bench, host
):
    def write(k: int, folder: Any, side: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        g = np.random.default_rng(k)
        Image.fromarray(g.integers(0, 256, (side, side), np.uint8)).save(folder / f"{k:02}.png")

    for k in range(40):
        write(k, host.output / "compared-run", 16)
        write(k, host.folder / "input" / "compared-reference", 20)
    inputs = {"folder": "compared-run", "reference": "compared-reference", "features": "digits"}

    def lines() -> list[str]:
        wires = Wires()
        key, _ = wires(NODE, **inputs)
        return bench.run(wires).outputs[key]["text"]

    first = lines()
    assert first[0].startswith("Kernel distance (KID): ")
    assert any("40 of 40 pictures of the reference had another size" in line for line in first)
    assert any("No Fréchet distance: it needs more images" in line for line in first)
    write(41, host.output / "compared-run", 16)
    assert lines() != first


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"folder": "", "reference": "sklearn-digits"}, "There are no images"),
        ({"folder": "nowhere", "reference": "sklearn-digits"}, "'nowhere' was not found"),
        ({"images": True, "reference": ""}, "There is no reference"),
        (
            {"images": True, "folder": "x", "reference": "sklearn-digits"},
            "Both a folder and images",
        ),
        ({"images": True, "reference": "nowhere.npz"}, "Enter a full path, or one relative to "),
        (
            {
                "images": True,
                "reference": "sklearn-digits",
                "features": "inception",
                "inception_file": "x",
            },
            "'x' was not found",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sets_that_cannot_be_compared_are_an_error_on_the_node(inputs, words, client, wires):
    if inputs.get("images"):
        inputs = {**inputs, "images": drawn(wires)}
    key, _ = wires(NODE, **{"features": "digits", **inputs})
    fails(client, wires.graph, key, words)
