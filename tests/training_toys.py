"""A small network, and small pictures, for the tests of training."""

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

SPRITE = Image.new("RGBA", (24, 24), (255, 0, 255, 0))  # magenta below what is transparent
SPRITE.paste((40, 160, 40, 255), (6, 6, 18, 18))
