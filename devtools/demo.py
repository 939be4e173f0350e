"""`python dev.py demo`: the quick-start workflow in a real ComfyUI."""

import json
import tempfile
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .client import Client, RefusedError
from .comfyui import HostError
from .environment import ROOT
from .host import Host
from .workflows import to_prompt

_WORKFLOW = ROOT / "example_workflows" / "quick_start_pndm.json"


def demo() -> int:
    """Run it, save the pictures in `output/`, print their paths, and return the exit status."""
    output = ROOT / "output"
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            print("Starting ComfyUI", flush=True)
            with Host(Path(folder), output=output) as host:
                return _run(host, output)
    except (HostError, RefusedError) as error:
        print(f"\nThe demo failed: {error}")
        return 1


def _run(host: Host, output: Path) -> int:
    client = Client(host.url)
    graph = to_prompt(json.loads(_WORKFLOW.read_text()), client.get("/object_info"))
    with tqdm(desc="PNDM Sampler", unit="evaluation") as bar:

        def show(value: int, maximum: int) -> None:
            bar.total = maximum
            bar.update(value - bar.n)

        run = client.run(graph, show)
    client.close()
    if run.error or not run.outputs:
        reason: Any = run.error and run.error.get("exception_message")
        print(f"\nThe workflow failed: {reason}\nSee also {host.log}.")
        return 1
    pictures = [
        output / image["subfolder"] / image["filename"]
        for shown in run.outputs.values()
        for image in shown.get("images", [])
        if image["type"] == "output"
    ]
    print("\nThe picture:" if len(pictures) == 1 else f"\n{len(pictures)} pictures:")
    for picture in pictures:
        print(f"  {picture}")
    return 0
