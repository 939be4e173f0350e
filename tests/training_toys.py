"""A small network, small pictures and short runs, for the tests of training."""

import math
from pathlib import Path
from typing import Any

import torch
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.training.options import TrainingOptions
from comfyui_unconditional.training.picture_set import PictureSet
from comfyui_unconditional.training.trainer import TrainingRun
from comfyui_unconditional.unet.config import UNetConfig
from PIL import Image

UNET = UNetConfig(
    sample_size=8,
    in_channels=1,
    out_channels=1,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    block_out_channels=(8, 16),
    layers_per_block=1,
    norm_num_groups=4,
)
SCHEDULER = SchedulerConfig()
OPTIONS = TrainingOptions(steps=6, batch_size=4, warmup_steps=2, flip=True, save_every=2)

SPRITE = Image.new("RGBA", (24, 24), (255, 0, 255, 0))  # magenta below what is transparent
SPRITE.paste((40, 160, 40, 255), (6, 6, 18, 18))


def noise_pictures(n: int = 5, seed: int = 0, shape: tuple[int, ...] = (1, 8, 8)) -> PictureSet:
    g = torch.Generator().manual_seed(seed)
    return PictureSet.of_tensor(torch.randint(0, 256, (n, *shape), generator=g, dtype=torch.uint8))


def make_run(
    folder: Path,
    options: TrainingOptions = OPTIONS,
    pictures: PictureSet | None = None,
    **more: Any,
) -> TrainingRun:
    given: dict[str, Any] = {"unet": UNET, "scheduler": SCHEDULER, "options": options, **more}
    return TrainingRun(pictures or noise_pictures(), folder, **given)


def finish(run: TrainingRun, stop_after: int | None = None) -> list[float]:
    return list(run.run(stop_after))


def assert_same_state(a: TrainingRun, b: TrainingRun) -> None:
    assert a.progress.losses == b.progress.losses
    for of_a, of_b in ((a.model, b.model), (a.averaged, b.averaged)):
        weights_a, weights_b = of_a.state_dict(), of_b.state_dict()
        assert weights_a.keys() == weights_b.keys()
        for name, value in weights_a.items():
            assert torch.equal(value, weights_b[name]), name


class Spoiled:
    """Makes the gradients of chosen steps NaN: each as many times as it is listed."""

    def __init__(self, run: TrainingRun, steps: list[int]):
        self._steps, self._loss = list(steps), run._loss
        run._loss = self  # pyright: ignore

    def __call__(self, step: int, micro: int) -> torch.Tensor:
        loss = self._loss(step, micro)
        if step + 1 not in self._steps:
            return loss
        self._steps.remove(step + 1)
        return loss * math.nan
