"""`python -m benchmarks.large_canvas`: the peak memory of ComfyUI for one very large picture.

``deep-field`` draws it with Windows and DDIM. It takes about two minutes a step for 4096 pixels on
each side.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from devtools.client import Client
from devtools.host import Host
from devtools.wires import Wires


def main() -> None:
    """Print the time and the peak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_canvas", description=__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--overlap", type=float, default=0.25)
    arguments = parser.parse_args()
    w, side = Wires(), arguments.side
    model = w("UnconditionalWindows", model=w.model("deep-field"), overlap=arguments.overlap)
    latent = w("UnconditionalEmptyLatent", model=model, width=side, height=side)
    samples = w("UnconditionalDDIMSampler", model=model, latent=latent, steps=arguments.steps)
    w("UnconditionalImageOutput", samples=samples, filename_prefix="large")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with Host(Path(folder)) as host:
            client, start = Client(host.url), time.perf_counter()
            run = client.run(w.graph)
            seconds = time.perf_counter() - start
            client.close()
        if run.error:
            raise SystemExit(run.error["exception_message"])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    updates = len(run.progress)
    print(f"{side} x {side}, {arguments.steps} steps: {seconds:.0f} s, {updates} updates of the")
    print(f"progress, peak of the process {peak:.2f} GiB")


if __name__ == "__main__":
    main()
