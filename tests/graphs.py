"""The prompts that the tests queue in the host, and their results."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ours
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.pictures.images import latent_to_image
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.unet2d import UNet2D
from PIL import Image, ImageSequence

from devtools.client import Client, Graph, Run
from devtools.contract import NODES
from devtools.host import Host
from devtools.wires import Wires


def graph(sampler: str = "PNDM", model_name: str = "digits-16", **inputs: Any) -> Graph:
    """The graph of the README; each input goes to the node that has it."""
    wires = Wires()
    for kind, given in (
        ("UNetLoader", {"model_name": model_name}),
        (f"{sampler}Sampler", {"model": ["1", 0], "seed": 7, "steps": 10}),
        ("ImageOutput", {"samples": ["2", 0], "filename_prefix": "test"}),
    ):
        node = f"Unconditional{kind}"
        names = inputs.keys() & {*NODES[node]["inputs"], *NODES[node].get("optional", {})}
        wires(node, **given | {name: inputs.pop(name) for name in names})
    assert not inputs
    return wires.graph


def save_graph(model_name: str, filename_prefix: str, dtype: str = "auto") -> Graph:
    prompt = graph(model_name=model_name, dtype=dtype)
    inputs = {"model": ["1", 0], "filename_prefix": filename_prefix}
    prompt["4"] = {"class_type": "UnconditionalUNetSave", "inputs": inputs}
    return prompt


def files(host: Host, run: Run, node: str = "3") -> list[Path]:
    """The files that a node shows."""
    assert run.error is None, run.error
    assert not run.interrupted
    folders = {"output": host.output, "temp": host.folder / "temp"}
    return [
        folders[image["type"]] / image["subfolder"] / image["filename"]
        for image in run.outputs[node]["images"]
    ]


def read_metadata(path: Path) -> dict[str, Any]:
    picture = Image.open(path)
    if path.suffix == ".png":
        return {name: json.loads(text) for name, text in picture.text.items()}
    texts = [value for value in picture.getexif().values() if isinstance(value, str)]
    return {text.split(":", 1)[0]: json.loads(text.split(":", 1)[1]) for text in texts}


def frames_of(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """The frames of an animation as grey values, and the milliseconds of each."""
    moving = ImageSequence.Iterator(Image.open(path))
    both = [(np.asarray(frame.convert("L")), frame.info["duration"]) for frame in moving]
    return [pixels for pixels, _ in both], [duration for _, duration in both]


def interrupt_at(client: Client, step: int) -> Callable[[int, int], None]:
    """Press Cancel once, when a run's progress comes to this step."""
    asked: list[threading.Thread] = []

    def on_progress(value: int, _: int) -> None:
        if value >= step and not asked:
            asked.append(threading.Thread(target=client.post, args=("/interrupt", {})))
            asked[0].start()

    return on_progress


def model_names(client: Client) -> list[str]:
    kind, options = client.get("/object_info/UnconditionalUNetLoader")["UnconditionalUNetLoader"][
        "input"
    ]["required"]["model_name"]
    return options.get("options") or kind


def digits(seeds: list[int], steps: int = 10) -> np.ndarray:
    """The result of our core without a host: (B, H, W, 1) in 0..1."""
    network = read_checkpoint(find_files(ours.DIGITS)).build(UNet2D)
    final = ours.run_pndm(SchedulerConfig(), steps, network, seeds, (1, 16, 16))
    return latent_to_image(final).numpy()


def fails(client: Client, prompt: Graph, node: str, words: str) -> None:
    """Assert that a prompt fails on this node with these words, and that the next one runs."""
    run = client.run(prompt)
    assert run.error is not None, "nothing failed"
    assert run.error["node_id"] == node
    assert words in run.error["exception_message"], run.error["exception_message"]
    after = client.run(graph(seed=1))
    assert after.error is None
