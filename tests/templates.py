"""The templates in example_workflows, and shorter settings for those that take long."""

import json
import shutil
from typing import Any

from PIL import Image

from devtools.client import Graph
from devtools.environment import ROOT
from devtools.host import Host

FOLDER = ROOT / "example_workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))

SHORTER: dict[str, dict[str, dict[str, Any]]] = {
    "any_size_sky": {
        "UnconditionalEmptyLatent": {"width": 128, "height": 64},
        "UnconditionalPNDMSampler": {"steps": 10},
    },
    "ddpm": {"UnconditionalDDPMSampler": {"steps": 100}},
    "dark_pictures": {"UnconditionalDDIMSampler": {"steps": 10}},
    "few_steps": {"UnconditionalOptimiseTimesteps": {"images": 4, "teacher_evaluations": 20}},
    "invert_and_vary": {
        "UnconditionalPNDMSampler": {"steps": 8},
        "UnconditionalInvert": {"steps": 8},
        "UnconditionalDDIMSampler": {"steps": 8, "batch_size": 4},
    },
    "looping_walk": {
        "UnconditionalEmptyLatent": {"width": 64, "height": 64},
        "UnconditionalNoiseWalk": {"frames": 8},
    },
    "outpainting": {
        "UnconditionalEmptyLatent": {"width": 64, "height": 64},
        "ImagePadForOutpaint": {"left": 16, "top": 16, "right": 16, "bottom": 16},
        "UnconditionalPNDMSampler": {"steps": 10},
    },
    "seamless_wallpaper": {
        "UnconditionalEmptyLatent": {"width": 128, "height": 64},
        "UnconditionalPNDMSampler": {"steps": 5},
    },
    "train_on_your_pictures": {
        "UnconditionalTrain": {"size": 8, "steps": 12, "batch_size": 2, "preview_every": 0},
        "UnconditionalPNDMSampler": {"steps": 5},
    },
    "train_on_one_picture": {
        "UnconditionalTrain": {"size": 16, "steps": 12, "batch_size": 2, "preview_every": 12},
        "UnconditionalEmptyLatent": {"width": 96, "height": 64},
        "UnconditionalPNDMSampler": {"steps": 5},
    },
}
"""Template -> kind of node -> values that shorten its run. They draw what the templates would."""


def saved(name: str) -> dict[str, Any]:
    """Return the workflow of a template."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def shorten(name: str, prompt: Graph) -> None:
    """Set the values of ``SHORTER`` in the prompt of a template."""
    for node in prompt.values():
        node["inputs"] |= SHORTER.get(name, {}).get(node["class_type"], {})


def put_inputs(host: Host) -> None:
    """Put the templates' inputs into the host's input folder: ComfyUI's example picture, which a
    separate base folder lacks, and a folder of pictures.
    """
    pictures = host.folder / "input" / "my-pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for k in range(8):
        Image.new("RGB", (8, 8), (30 * k, 0, 255)).save(pictures / f"{k}.png")
    shutil.copy(host.comfyui / "input" / "example.png", host.folder / "input")
