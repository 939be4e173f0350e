"""The data, network and training options of the bundled model ``digits-16``."""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from ..schedulers.config import SchedulerConfig
from ..training.classifier import Labelled
from ..training.options import TrainingOptions
from ..unet.config import UNetConfig

UNET = UNetConfig(
    sample_size=16,
    in_channels=1,
    out_channels=1,
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    block_out_channels=(32, 64, 96),
    layers_per_block=1,
    attention_head_dim=32,
    norm_num_groups=8,
    flip_sin_to_cos=False,
    freq_shift=1,
    downsample_padding=0,
)
SCHEDULER = SchedulerConfig()
OPTIONS = TrainingOptions(warmup_steps=200, decay="cosine")
CLASSIFIER_STEPS = 2000


def digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's 1,797 handwritten digits and their labels.

    Returns:
        Images, float32, shape (1797, 1, 16, 16) in -1..1 (8x8 originals, bicubic, clamped), and
        labels 0..9, shape (1797,).
    """
    data: Any = load_digits()  # a Bunch; according to its stub it could be a tuple
    small = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1
    images = F.interpolate(small, size=(16, 16), mode="bicubic").clamp(-1, 1)
    return images, torch.tensor(data.target)


def labelled_digits() -> Labelled:
    """Return the digits in the form for training a classifier."""
    images, labels = digits()
    return Labelled(images, labels, tuple(map(str, range(10))))
