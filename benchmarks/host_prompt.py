"""How long a prompt takes in a real ComfyUI in addition to its sampling loop."""

import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from comfyui_unconditional.checkpoints.saving import save_model
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.config import UNetConfig

from devtools.client import Client, Graph
from devtools.environment import ROOT
from devtools.host import Host
from devtools.workflows import to_prompt

from .peers import CIFAR, SHAPES, make_peers

_WORKFLOW = ROOT / "example_workflows" / "quick_start_pndm.json"
_MAX_BEYOND, _OR_SECONDS = 0.05, 0.15


def measure_prompts(report: Any, rounds: int) -> None:
    """Measure the time beyond the loop, of the quick-start workflow with previews on.

    It saves PNG files with metadata: first digits-16 in a batch of 16, then one image of the
    google/ddpm-cifar10-32 shape, each prompt with a new seed. The first prompt of each, which loads
    the model, is not counted.
    """
    network = make_peers(CIFAR, torch.device("cpu")).ours
    environment = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        target, config = (
            folder / "models" / "diffusers" / "cifar",
            UNetConfig.from_dict(SHAPES[CIFAR]),
        )
        save_model(target, network.state_dict(), config, SchedulerConfig())
        with Host(folder, environment=environment) as host:
            client = Client(host.url)
            prompt = to_prompt(json.loads(_WORKFLOW.read_text()), client.get("/object_info"))
            for name, steps, batch in (("digits-16", 50, 16), ("cifar", 20, 1)):
                found = []
                for _ in range(rounds + 1):
                    for node in prompt.values():
                        inputs = node["inputs"]
                        if "model_name" in inputs:
                            inputs["model_name"] = name
                        if "steps" in inputs:
                            seed = random.randrange(2**32)
                            inputs |= {"steps": steps, "batch_size": batch, "seed": seed}
                    found.append(_time(client, prompt))
                loop, beyond = (statistics.median(each) for each in zip(*found[1:], strict=True))
                report.add(
                    f"in ComfyUI: a prompt beyond its loop, {name}, F-PNDM {steps}, batch {batch}",
                    beyond / loop,
                    _MAX_BEYOND,
                    f"{beyond * 1e3:.0f} ms beyond a loop of {loop:.2f} s; or "
                    f"{_OR_SECONDS * 1e3:.0f} ms",
                    good=beyond <= _OR_SECONDS,
                )
            client.close()


def _time(client: Client, prompt: Graph) -> tuple[float, float]:
    """Return the seconds of the loop, and those beyond it until the history is complete.

    The loop is measured from the first progress event, after the first evaluation, to the last,
    times n / (n - 1).
    """
    events: list[tuple[float, int]] = []
    start = time.perf_counter()
    run = client.run(prompt, lambda value, _: events.append((time.perf_counter(), value)))
    whole = time.perf_counter() - start
    if run.error or len(events) < 2 or not run.previews:
        raise RuntimeError(f"The prompt failed or had no previews: {run.error}")
    (first, done_first), (last, done_last) = events[0], events[-1]
    loop = (last - first) * done_last / (done_last - done_first)
    return loop, whole - loop
