"""Fine-tuning digits-16 on one digit: how many of its images are that digit."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.models.judge import SAMPLES, STEPS, as_saved, compare
from comfyui_unconditional.models.sampling import draw, read_model
from comfyui_unconditional.schedulers.pndm import PNDM
from comfyui_unconditional.schedulers.span import Stretch
from comfyui_unconditional.training.plan import Start

from .ours import NODE_OPTIONS, begin

MODEL = Path(__file__).resolve().parents[2] / "models" / "digits-16"
_BATCH = 100


def measure(chosen: list[int], device: torch.device, steps: int) -> None:
    """Train on all real pictures of each chosen digit, from digits-16, and count votes."""
    images, labels = digits()
    network, config = read_model(MODEL)
    start = Start(network.config, config, network.state_dict(), "digits-16")
    shape = (1, *network.config.size)
    sampler = PNDM.over(config, Stretch(STEPS))
    print("| digit | pictures | steps | share of the samples |\n|---|---|---|---|", flush=True)
    for digit in chosen:
        own = images[labels == digit]
        with tempfile.TemporaryDirectory() as folder:
            run = begin(
                own,
                Path(folder),
                unet=network.config,
                options=replace(NODE_OPTIONS, steps=steps, learning_rate=1e-3),
                device=device,
                start=start,
                small_data="auto",
            )
            for _ in run.run():
                pass
        samples = as_saved(draw(run.averaged, sampler, shape, range(SAMPLES), _BATCH))
        share = compare(samples, as_saved(images), labels).shares[digit]
        print(f"| {digit} | {len(own)} | {steps} | {share:.1%} |", flush=True)
