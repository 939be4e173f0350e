"""The images to which every exact sampler converges with more and more steps.

There are two, because runs end at one of two levels: at the data, or at the noise of timestep 0.
One run gives both: its last step goes from the second to the first.
"""

from dataclasses import replace

import torch
from comfyui_unconditional.schedulers.ddim import DDIM
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.randomness import SeededNoise
from comfyui_unconditional.schedulers.sampler import Evaluation, drain
from comfyui_unconditional.schedulers.span import Stretch
from torch import Tensor

from .network import Network
from .samplers import End


@torch.inference_mode()
def converge(network: Network, row: str, steps: int, seeds: range, batch: int) -> dict[End, Tensor]:
    """Return the images of these seeds at both ends, by DDIM or F-PNDM with many steps."""
    ends: dict[End, list[Tensor]] = {"data": [], "first": []}
    config = replace(network.config, clip_sample=False, set_alpha_to_one=True)
    for start in range(0, len(seeds), batch):
        noise = SeededNoise(seeds[start : start + batch], network.shape)
        kind = PNDM if row == "F-PNDM" else DDIM
        sampling = kind.over(config, Stretch(steps)).sample(network, noise(), noise)
        last: list[Evaluation] = []

        def remember(evaluation: Evaluation, last: list[Evaluation] = last) -> None:
            last[:] = [evaluation]

        ends["data"].append(drain(sampling, remember))
        ends["first"].append(last[0].x_t)
    return {end: torch.cat(images) for end, images in ends.items()}
