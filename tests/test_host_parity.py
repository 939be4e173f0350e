"""In the real ComfyUI: our nodes against diffusers, over 16 seeds.

A few lengths: ``test_pipelines`` has them all for the core.
"""

import bundled
import pytest
from float64 import compare_runs
from sampler_graphs import sixteen_images


@pytest.mark.parametrize(
    ("sampler", "steps", "eta"),
    [
        ("DDPM", 7, 0.0),
        ("DDIM", 10, 0.0),
        ("DDIM", 10, 0.5),
        ("F-PNDM", 50, 0.0),
        ("PLMS", 10, 0.0),
    ],
)
def test_a_node_draws_the_images_of_diffusers(sampler, steps, eta, wires, bench, parity):
    (result,) = bench.get(wires, sixteen_images(wires, sampler, steps, eta))
    reference = bundled.their_runs(sampler, steps, eta)
    parity(f"{sampler} on digits-16, by the node", compare_runs(result, *reference))
