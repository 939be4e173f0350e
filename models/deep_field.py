"""The data, network, noise schedule and training options of the bundled model ``deep-field``."""

import numpy as np
import torch
from torch import Tensor

from ..training.options import TrainingOptions
from ..unet.config import UNetConfig

# No attention, so it draws pictures of any size. 64 pixels hold the largest galaxy. The lowest
# level has 8 x 8 pixels, so each pixel of the result depends on all others.
UNET = UNetConfig(
    sample_size=64,
    in_channels=3,
    out_channels=3,
    down_block_types=("DownBlock2D",) * 4,
    up_block_types=("UpBlock2D",) * 4,
    block_out_channels=(32, 48, 64, 88),
    layers_per_block=1,
    norm_num_groups=8,
    add_attention=False,
)

OPTIONS = TrainingOptions(
    steps=3_750,
    batch_size=64,
    learning_rate=1e-3,
    warmup_steps=200,
    flip=True,
    rotate=True,
    save_every=500,
)


def pictures() -> Tensor:
    """Return the Hubble eXtreme Deep Field that comes with scikit-image.

    Credit: NASA, ESA, G. Illingworth, D. Magee and P. Oesch (University of California, Santa Cruz),
    R. Bouwens (Leiden University), and the HUDF09 team; 2012, public domain.

    Returns:
        uint8 in 0..255, shape (1, 3, 872, 1000).
    """
    from skimage.data import hubble_deep_field  # so that the rest of this module works without it

    return torch.from_numpy(np.array(hubble_deep_field())).permute(2, 0, 1)[None]
