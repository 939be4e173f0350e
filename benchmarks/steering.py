"""`python -m benchmarks.steering`: how often Steer draws the requested digit.

It draws each of the ten digits with the node in a real ComfyUI. The judges are the nearest real
digits (models/judge.py) and the classifier of evaluate/, neither of which takes part in steering.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comfyui_unconditional.evaluate.digit_classifier import load_classifier
from comfyui_unconditional.evaluate.distances import Gaussian, frechet
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.judge import as_saved, compare
from torch import Tensor

from devtools.client import Client
from devtools.host import Host
from devtools.wires import Wires


@dataclass(frozen=True)
class Setting:
    """A sampler, and how it is steered; ``steer`` None: not at all."""

    name: str
    kind: str
    sampler: dict[str, Any]
    steer: dict[str, Any] | None


_POWER = {"steps": 20, "spacing": "power"}
_DDIM = ("DDIM, eta 1, power, 20 steps", "DDIM", {**_POWER, "eta": 1.0})
_IPNDM = ("iPNDM_v, power, 20 steps", "PNDM", {**_POWER, "method": "iPNDM_v"})


def settings() -> Iterator[Setting]:
    """Yield the rows of the table, from top to bottom."""
    yield Setting(*_DDIM, steer=None)
    for sampler in (_DDIM, _IPNDM):
        for weight in (1.0, 3.0, 5.0, 10.0):
            yield Setting(*sampler, steer={"through": "image", "weight": weight})
    yield Setting(*_DDIM, steer={"through": "network", "weight": 1.0})
    yield Setting("DDPM, 100 steps", "DDPM", {"steps": 100}, {"through": "image", "weight": 10.0})
    for weight in (3.0, 10.0):
        image = {"through": "image", "weight": weight}
        yield Setting("F-PNDM, 50 steps", "PNDM", {"steps": 50}, image)


def draw(client: Client, host: Host, setting: Setting, digit: int, count: int) -> Tensor:
    """Return images of a digit, shape (count, 1, 16, 16), as in saved pictures."""
    wires = Wires()
    model = wires.model()
    if setting.steer is not None:
        how = {"classifier": "digits-16", "class_number": digit, **setting.steer}
        model = wires("UnconditionalSteer", model=model, **how)
    inputs = {"seed": 1000 * digit, "batch_size": count, **setting.sampler}
    samples = wires(f"Unconditional{setting.kind}Sampler", model=model, **inputs)
    wires("UnconditionalImageOutput", samples=samples, format="npy")
    run = client.run(wires.graph)
    if run.error is not None:
        raise RuntimeError(run.error["exception_message"])
    found = sorted(host.output.rglob("*.npy"))
    images = torch.from_numpy(np.concatenate([np.load(path) for path in found]))
    for path in found:
        path.unlink()
    return as_saved(images.movedim(-1, 1) * 2 - 1)


def print_settings(client: Client, host: Host, count: int) -> None:
    """Print a row for each setting."""
    real, labels = digits()
    real, other = as_saved(real), load_classifier()
    scale = other.scale.item()
    with torch.inference_mode():
        reference = Gaussian.of(other.features(real).double() / scale)
    print("| sampler | through | weight | right | rarest digit | second judge | Fréchet distance |")
    print("|---|---|---|---|---|---|---|")
    for setting in settings():
        drawn = [draw(client, host, setting, digit, count) for digit in range(10)]
        shares = [compare(x, real, labels).shares[k] for k, x in enumerate(drawn)]
        images = torch.cat(drawn)
        wanted = torch.arange(10).repeat_interleave(count)
        with torch.inference_mode():
            second = (other(images).argmax(1) == wanted).double().mean().item()
            features = other.features(images).double() / scale
        worst = min(range(10), key=shares.__getitem__)
        steer = setting.steer or {"through": "not steered", "weight": ""}
        print(
            f"| {setting.name} | {steer['through']} | {steer['weight']} | "
            f"{sum(shares) / 10:.1%} | {worst}: {shares[worst]:.0%} | {second:.1%} | "
            f"{frechet(Gaussian.of(features), reference):.2f} |",
            flush=True,
        )


def print_digits(client: Client, host: Host, count: int) -> None:
    """Print what was drawn for each digit, with the settings of the template."""
    real, labels = digits()
    real = as_saved(real)
    setting = Setting(*_DDIM, steer={"through": "image", "weight": 5.0})
    print("| asked for | " + " | ".join(map(str, range(10))) + " |")
    print("|---" * 11 + "|")
    for digit in range(10):
        shares = compare(draw(client, host, setting, digit, count), real, labels).shares
        cells = " | ".join(f"{share:.0%}" if share else "" for share in shares)
        print(f"| {digit} | {cells} |", flush=True)


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steering", description=__doc__)
    parser.add_argument("--images", type=int, default=30, help="images of each digit (default: 30)")
    parser.add_argument("--digits", action="store_true", help="what was drawn for each digit")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary,
        Host(Path(temporary), environment={"OMP_NUM_THREADS": "1"}) as host,
    ):
        table = print_digits if given.digits else print_settings
        table(Client(host.url), host, given.images)


if __name__ == "__main__":
    main()
