"""The network of lucidrains/denoising-diffusion-pytorch: a U-Net with two kinds of attention."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from ..networks.base import Network
from ..networks.errors import ConfigError
from .attention import Attention
from .blocks import ResidualBlock, SinusoidalTime
from .config import LucidrainsConfig
from .memory import activation_bytes


class LucidrainsUNet(Network):
    """The package's ``Unet`` with a configuration for each of its versions.

    The tensors have the names of the newest version.
    """

    config: LucidrainsConfig

    def __init__(
        self,
        config: LucidrainsConfig,
        *,
        operations: Any = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__(config, dtype=dtype)
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        layers: dict[str, Any] = {"operations": operations, **factory}
        widths = (config.init_dim, *config.block_out_channels)
        levels = range(len(config.block_out_channels))
        time = 4 * config.dim

        inputs = config.in_channels * (2 if config.self_condition else 1)
        self.init_conv = operations.Conv2d(inputs, config.init_dim, 7, padding=3, **factory)
        self.time_mlp = nn.Sequential(
            SinusoidalTime(config.dim, config.sinusoidal_pos_emb_theta),
            operations.Linear(config.dim, time, **factory),
            nn.GELU(),
            operations.Linear(time, time, **factory),
        )

        def block(channels: int, out: int) -> ResidualBlock:
            groups = config.resnet_block_groups
            return ResidualBlock(channels, out, time_channels=time, groups=groups, **layers)

        self.downs = nn.ModuleList()
        for i in levels:
            width, below = widths[i], widths[i + 1]
            if i == levels[-1]:
                down = operations.Conv2d(width, below, 3, padding=1, **factory)
            elif config.strided_downsampling:
                down = operations.Conv2d(width, below, 4, stride=2, padding=1, **factory)
            else:
                conv = operations.Conv2d(4 * width, below, 1, **factory)
                down = nn.Sequential(nn.PixelUnshuffle(2), conv)
            attention = Attention(config, i, width, is_full=config.full_attn[i], **layers)
            parts = [block(width, width), block(width, width), attention, down]
            self.downs.append(nn.ModuleList(parts))

        self.mid_block1 = block(widths[-1], widths[-1])
        self.mid_attn = Attention(config, levels[-1], widths[-1], is_full=True, **layers)
        self.mid_block2 = block(widths[-1], widths[-1])

        self.ups = nn.ModuleList()
        for i in reversed(levels):
            width, above = widths[i + 1], widths[i]
            up = operations.Conv2d(width, above, 3, padding=1, **factory)
            if i > 0:
                up = nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), up)
            attention = Attention(config, i, width, is_full=config.full_attn[i], **layers)
            joined = width + above
            parts = [block(joined, width), block(joined, width), attention, up]
            self.ups.append(nn.ModuleList(parts))

        self.final_res_block = block(2 * config.init_dim, config.init_dim)
        self.final_conv = operations.Conv2d(config.init_dim, config.out_channels, 1, **factory)

    def forward(
        self, x: Tensor, timesteps: Tensor | float, last_x0: Tensor | None = None
    ) -> Tensor:
        """Predict what the model was trained to predict (noise, image or velocity).

        Args:
            x: noisy images, shape (B, in_channels, H, W), model range about -1..1 plus noise.
            timesteps: shape (B,) or one number for all, in training steps 0 .. T-1.
            last_x0: the images predicted last, shaped like ``x``, if ``config.self_condition``;
                None means zeros, as at the start (Chen et al. 2023).

        Returns:
            Shape (B, out_channels, H, W), in the dtype of ``x``.

        Raises:
            ConfigError: H or W cannot be halved at each level, or ``last_x0`` is unexpected.
        """
        self.config.check_size(*x.shape[-2:])
        if self.config.self_condition:
            x = torch.cat((torch.zeros_like(x) if last_x0 is None else last_x0, x), dim=1)
        elif last_x0 is not None:
            raise ConfigError("This network is not self-conditioned and does not accept last_x0.")
        t = torch.as_tensor(timesteps, device=x.device).expand(x.shape[0])
        sinusoids, linear1, gelu, linear2 = self.time_mlp
        time = linear2(gelu(linear1(sinusoids(t).to(x.dtype))))

        x = self.init_conv(x)
        skips = [x]
        for block1, block2, attention, down in cast(Any, self.downs):
            x = block1(x, time)
            skips.append(x)
            x = attention(block2(x, time))
            skips.append(x)
            x = down(x)

        x = self.mid_block1(x, time)
        x = self.mid_attn(x)
        x = self.mid_block2(x, time)

        for block1, block2, attention, up in cast(Any, self.ups):
            for block in (block1, block2):
                skips[-1] = torch.cat((x, skips[-1]), dim=1)
                del x  # frees the block's input
                x = block(skips.pop(), time)
            x = attention(x)
            x = up(x)

        x = torch.cat((x, skips.pop()), dim=1)
        return self.final_conv(self.final_res_block(x, time))

    def activation_bytes(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> int:
        return activation_bytes(self.config, shape, dtype)
