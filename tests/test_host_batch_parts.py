"""In the real ComfyUI: a batch that the network evaluates in parts."""

import json

import torch
from comfyui_unconditional.networks.batch_parts import equal_part, equal_parts, fastest_part
from comfyui_unconditional.unet.config import UNetConfig
from comfyui_unconditional.unet.memory import activation_bytes
from ours import DIGITS
from sampler_graphs import sampler


def test_where_parts_of_a_batch_overlap_every_seed_has_its_image(wires, bench):
    fields = json.loads((DIGITS / "unet" / "config.json").read_text())
    one = activation_bytes(UNetConfig.from_dict(fields), (1, 1, 16, 16), torch.float32)
    count = 317  # a prime, so that no parts divide it
    limit = fastest_part(count, one, torch.device("cpu"))
    first, last = equal_parts(count, equal_part(count, limit))
    assert last.start < first.stop
    model, few = wires.model(), {"steps": 3, "eta": 0.0}
    whole = sampler(wires, "DDIM", model, batch_size=count, **few)
    around = sampler(wires, "DDIM", model, batch_size=8, seed=7 + last.start - 4, **few)
    results = bench.get(wires, whole, around)
    assert len(results[0]) == count
    there = results[0][last.start - 4 : last.start + 4]
    assert (there - results[1]).abs().max() < 1e-3
