"""A model from disk, as the samplers here call it, with its calls counted."""

from collections.abc import Callable
from pathlib import Path

import torch
from comfyui_unconditional.checkpoints.files import find_files
from comfyui_unconditional.checkpoints.reading import read_checkpoint
from comfyui_unconditional.schedulers.config import SchedulerConfig
from comfyui_unconditional.unet.placement import place_weights
from comfyui_unconditional.unet.unet2d import UNet2D
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = {
    "digits-16": ROOT / "models" / "digits-16",
    "digits-16-cosine": ROOT / "benchmarks" / "models" / "digits-16-cosine",
    "digits-16-bfloat16": ROOT / "models" / "digits-16",
}
_PRECISIONS = {"digits-16-bfloat16": torch.bfloat16}


class Network:
    """A network in its precision, its noise schedule, and its number of calls.

    Attributes:
        config: the scheduler options of its folder.
        shape: (C, H, W) of an image.
        calls: how often it was called.
        on_call: receives the number of images of each call.
    """

    def __init__(self, name: str):
        self.name = name
        checkpoint = read_checkpoint(
            find_files(FOLDERS[name]), _PRECISIONS.get(name, torch.float32)
        )
        self.config = SchedulerConfig.from_dict(checkpoint.scheduler or {})
        self.shape = (checkpoint.config.in_channels, *checkpoint.config.size)
        self.unet = place_weights(checkpoint.build(UNet2D), torch.device("cpu"))
        self.calls = 0
        self.on_call: Callable[[int], object] = id

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """Predict; see ``schedulers.evaluation.Model``. The samplers compute in float32."""
        self.count(len(x))
        return self.unet(x.to(self.unet.dtype), t).to(x.dtype)

    def count(self, images: int) -> None:
        """Count one call."""
        self.calls += 1
        self.on_call(images)
