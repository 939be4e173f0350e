"""How long a prompt takes in a real ComfyUI in addition to its sampling loop."""

import json
import random
import tempfile
import time
from pathlib import Path

import torch
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.config import UNetConfig
from tqdm import tqdm

from devtools.client import Client, Graph
from devtools.environment import ROOT
from devtools.host import Host
from devtools.workflows import to_prompt

from .peers import SHAPES, make_peers

_WORKFLOW = ROOT / "example_workflows" / "quick_start_pndm.json"


def measure_prompts(rounds: int) -> list[tuple[str, float, float]]:
    """Return (what ran, seconds of its loop, seconds beyond the loop) for each prompt.

    This runs the quick-start workflow, which saves PNG files with metadata, with previews on: first
    digits-16 in a batch of 16, then one image of the google/ddpm-cifar10-32 shape, each prompt with
    a new seed. The first prompt of each, which loads the model, is not counted.

    The total time is measured from the POST until the history is complete. The loop's is measured
    from the first progress event, after the first evaluation, to the last, times n / (n - 1).
    """
    found = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        network = make_peers("ddpm-cifar10-32", torch.device("cpu")).ours
        save_model(
            folder / "models" / "diffusers" / "cifar",
            network.state_dict(),
            UNetConfig.from_dict(SHAPES["ddpm-cifar10-32"]),
            SchedulerConfig(),
        )
        environment = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        with Host(folder, environment=environment) as host:
            client = Client(host.url)
            workflow = to_prompt(json.loads(_WORKFLOW.read_text()), client.get("/object_info"))
            for name, steps, batch in (("digits-16", 50, 16), ("cifar", 20, 1)):
                what = f"{name}, F-PNDM {steps}, batch {batch}"
                for number in tqdm(range(rounds + 1), desc=f"ComfyUI: {what}", leave=False):
                    _set(workflow, name, steps, batch)
                    whole, loop, previews = _time(client, workflow)
                    if not previews:
                        raise RuntimeError("The host sent no previews, which must be measured too.")
                    if number:
                        found.append((what, loop, whole - loop))
            client.close()
    return found


def _set(prompt: Graph, name: str, steps: int, batch: int) -> None:
    for node in prompt.values():
        inputs = node["inputs"]
        if "model_name" in inputs:
            inputs["model_name"] = name
        if "steps" in inputs:
            seed = random.randrange(2**32)
            inputs |= {"steps": steps, "batch_size": batch, "seed": seed}


def _time(client: Client, prompt: Graph) -> tuple[float, float, int]:
    events: list[tuple[float, int]] = []
    start = time.perf_counter()
    run = client.run(prompt, lambda value, _: events.append((time.perf_counter(), value)))
    whole = time.perf_counter() - start
    if run.error or len(events) < 2:
        raise RuntimeError(f"The prompt failed: {run.error}")
    (first, done_first), (last, done_last) = events[0], events[-1]
    loop = (last - first) * done_last / (done_last - done_first)
    return whole, loop, len(run.previews)
