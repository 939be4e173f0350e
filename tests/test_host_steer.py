"""In the real ComfyUI: images that a score steers."""

import pytest
import torch
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.judge import as_saved, compare
from comfyui_unconditional.schedulers.restoration import Blocks
from graphs import files, read_metadata
from sampler_graphs import ksampler, output, sampler, some_images
from torch import Tensor
from wiring import Bench, Link, Wires

ALIASES = {"classifier": "digits-16", "class_number": 7, "through": "image"}


def steer(wires: Wires, model: Link | None = None, **how) -> Link:
    given = {**ALIASES, "weight": 10.0, "start": 0.0, "until": 1.0, **how}
    return wires("UnconditionalSteer", model=model or wires.model(), **given)


def sevens(images: Tensor) -> float:
    """The share of images that the judge, which does not steer, takes for a 7."""
    real, labels = digits()
    return compare(as_saved(images), as_saved(real), labels).shares[7]


def test_sevens_on_demand_in_all_samplers(wires, bench, figure):
    image, network = steer(wires), steer(wires, through="network", weight=2.0)
    plain, empty = wires.model(), bench.put(wires, torch.zeros(10, 1, 16, 16))
    own, host = {"batch_size": 10, "steps": 20}, {"add_noise": "enable", "cfg": 1.0}
    results = bench.get(
        wires,
        sampler(wires, "PNDM", plain, **own),
        *(sampler(wires, kind, image, **own) for kind in ("PNDM", "DDIM", "DDPM")),
        sampler(wires, "PNDM", network, **own),
        ksampler(wires, image, empty, sampler_name="euler", **host),
        ksampler(wires, image, empty, sampler_name="dpmpp_2m", **host),
    )
    shares = [sevens(samples) for samples in results]
    print(shares)
    assert shares[0] < 0.5
    assert min(shares[1:]) >= 0.9
