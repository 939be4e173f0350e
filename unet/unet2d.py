"""The U-shaped network of unconditional pixel-space diffusion (Ho et al. 2020, appendix B)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import DOWN_BLOCKS, UP_BLOCKS, Level, MidBlock, build_block
from .config import UNetConfig
from .embeddings import TimeMLP, sinusoidal_embedding


class UNet2D(nn.Module):
    """diffusers' ``UNet2DModel``: the same computation under the same state-dict names.

    Args:
        config: what to build.
        operations: where ``Conv2d``, ``Linear`` and ``GroupNorm`` come from; a host passes its
            own, which cast and move weights as they are used.
        dtype, device: of the parameters.

    Raises:
        ConfigError: the configuration names a block that is not supported.
    """

    def __init__(
        self,
        config: UNetConfig,
        *,
        operations: Any = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.config = config
        self.dtype = dtype or torch.get_default_dtype()
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        blocks: dict[str, Any] = {"operations": operations, **factory}
        widths = config.block_out_channels

        self.conv_in = operations.Conv2d(config.in_channels, widths[0], 3, padding=1, **factory)
        self.time_embedding = TimeMLP(widths[0], config.time_channels, **blocks)

        self.down_blocks = nn.ModuleList()
        skips = [widths[0]]
        for i, kind in enumerate(config.down_block_types):
            is_last = i == len(widths) - 1
            level = Level(config, widths[max(i - 1, 0)], widths[i], is_last)
            self.down_blocks.append(build_block(DOWN_BLOCKS, kind, level, **blocks))
            skips += [widths[i]] * (config.layers_per_block + (not is_last))

        self.mid_block = MidBlock(config, **blocks)

        self.up_blocks = nn.ModuleList()
        upwards = widths[::-1]
        for i, kind in enumerate(config.up_block_types):
            taken = tuple(skips.pop() for _ in range(config.layers_per_block + 1))
            is_last = i == len(widths) - 1
            level = Level(config, upwards[max(i - 1, 0)], upwards[i], is_last, taken)
            self.up_blocks.append(build_block(UP_BLOCKS, kind, level, **blocks))

        self.conv_norm_out = operations.GroupNorm(
            config.norm_num_groups, widths[0], eps=config.norm_eps, **factory
        )
        self.conv_out = operations.Conv2d(widths[0], config.out_channels, 3, padding=1, **factory)

    def forward(self, x: Tensor, timesteps: Tensor | float) -> Tensor:
        """Predict what the model was trained to predict (noise, image or velocity).

        Args:
            x: noisy images, shape (B, in_channels, H, W), model range about -1..1 plus noise.
            timesteps: shape (B,) or one number for all, in training steps 0 .. T-1.

        Returns:
            Shape (B, out_channels, H, W), in the dtype of ``x``.

        Raises:
            ConfigError: H or W cannot be halved on each level.
        """
        config = self.config
        config.check_size(*x.shape[-2:])

        # Time: one embedding per image.
        t = torch.as_tensor(timesteps, device=x.device).expand(x.shape[0])
        embedding = sinusoidal_embedding(
            t,
            config.block_out_channels[0],
            flip_sin_to_cos=config.flip_sin_to_cos,
            freq_shift=config.freq_shift,
        )
        temb = self.time_embedding(embedding.to(x.dtype))

        # Down, middle, up.
        if config.center_input_sample:
            x = 2 * x - 1
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, left = block(x, temb)
            skips += left
        x = self.mid_block(x, temb)
        for block in self.up_blocks:
            x = block(x, skips, temb)

        return self.conv_out(F.silu(self.conv_norm_out(x)))
