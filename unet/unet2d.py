"""The U-shaped network of unconditional pixel-space diffusion (Ho et al. 2020, appendix B)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..networks.base import Network
from ..networks.errors import ConfigError
from ..networks.normalization import normalized
from .blocks import DOWN_BLOCKS, UP_BLOCKS, build_block
from .config import UNetConfig
from .embeddings import MLP, make_class_embedding, make_time_projection
from .level import Level
from .memory import activation_bytes
from .mid_block import MidBlock
from .normalization import group_norm


class UNet2D(Network):
    """diffusers' ``UNet2DModel``: the same computation under the same state-dict names.

    Raises:
        ConfigError: the configuration names a block that is not supported, or its widths cannot be
            divided into its groups.
    """

    config: UNetConfig

    def __init__(
        self,
        config: UNetConfig,
        *,
        operations: Any = nn,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__(config, dtype=dtype)
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        layers: dict[str, Any] = {"operations": operations, **factory}
        widths = config.block_out_channels

        self.conv_in = operations.Conv2d(config.in_channels, widths[0], 3, padding=1, **factory)
        self.time_proj = make_time_projection(config, **layers)
        self.time_embedding = MLP(config.time_input_channels, config.time_channels, **layers)
        self.class_embedding = make_class_embedding(config, **layers)

        self.down_blocks = nn.ModuleList()
        skips = [widths[0]]
        for i, kind in enumerate(config.down_block_types):
            is_last = i == len(widths) - 1
            level = Level(config, widths[max(i - 1, 0)], widths[i], config.head_dim(i), is_last)
            self.down_blocks.append(build_block(DOWN_BLOCKS, kind, level, **layers))
            skips += [widths[i]] * (config.layers_per_block + (not is_last))

        self.mid_block = MidBlock(config, **layers) if config.mid_block_type else None

        self.up_blocks = nn.ModuleList()
        upwards = widths[::-1]
        for i, kind in enumerate(config.up_block_types):
            taken = tuple(skips.pop() for _ in range(config.layers_per_block + 1))
            is_last = i == len(widths) - 1
            head = config.head_dim(-1 - i)
            level = Level(config, upwards[max(i - 1, 0)], upwards[i], head, is_last, taken)
            self.up_blocks.append(build_block(UP_BLOCKS, kind, level, **layers))

        self.conv_norm_out = group_norm(
            config.groups(widths[0]), widths[0], eps=config.norm_eps, **layers
        )
        self.conv_out = operations.Conv2d(widths[0], config.out_channels, 3, padding=1, **factory)

    def forward(
        self, x: Tensor, timesteps: Tensor | float, class_labels: Tensor | int | None = None
    ) -> Tensor:
        """Predict what the model was trained to predict (noise, image, velocity or score).

        Args:
            x: noisy images, shape (B, in_channels, H, W), model range about -1..1 plus noise.
            timesteps: shape (B,) or one number for all, in training steps 0 .. T-1; sigmas above
                0 where ``config.is_variance_exploding``.
            class_labels: shape (B,) or one number for all; for class_embed_type "identity" also
                (B, time_channels), the embeddings themselves. Given if and only if
                ``config.has_classes``.

        Returns:
            Shape (B, out_channels, H, W), in the dtype of ``x``.

        Raises:
            ConfigError: H or W cannot be halved at each level, a label is missing or unexpected,
                or a learned time embedding has no entry for a timestep.
        """
        config = self.config
        config.check_size(*x.shape[-2:])

        # Time and class: one embedding per image.
        t = torch.as_tensor(timesteps, device=x.device).expand(x.shape[0])
        temb = self.time_embedding(self._project(t).to(x.dtype))
        if (class_labels is None) == config.has_classes:
            raise ConfigError(
                "This model was trained with classes and needs class_labels."
                if config.has_classes
                else "This model was trained without classes and does not accept class_labels."
            )
        if self.class_embedding is not None:
            labels = torch.as_tensor(class_labels, device=x.device)
            labels = labels.expand(x.shape[0]) if labels.ndim == 0 else labels
            if config.class_embed_type == "timestep":
                labels = self._project(labels).to(x.dtype)
            temb = temb + self.class_embedding(labels).to(x.dtype)

        # Down, middle, up. Skip blocks pass on the image itself.
        if config.center_input_sample:
            x = 2 * x - 1
        image = x
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, left, image = block(x, temb, image)
            skips += left
            del left
        if self.mid_block is not None:
            x = self.mid_block(x, temb)
        image = None
        for block in self.up_blocks:
            skips.append(x)
            del x  # frees the block's input as soon as it is concatenated with a skip
            x, image = block(skips, temb, image)

        x = self.conv_out(normalized(self.conv_norm_out, x, F.silu, overwrite=True))
        if image is not None:
            x = x + image
        return (
            (x / t.float()[:, None, None, None]).to(x.dtype) if config.is_variance_exploding else x
        )

    def activation_bytes(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> int:
        return activation_bytes(self.config, shape, dtype)

    def _project(self, t: Tensor) -> Tensor:
        """Embed timesteps, or labels as if they were: (B,) to (B, config.time_input_channels)."""
        if not isinstance(self.time_proj, nn.Embedding):
            return self.time_proj(t)
        whole, entries = t.long(), self.time_proj.num_embeddings
        if (whole != t).any() or (whole < 0).any() or (whole >= entries).any():
            raise ConfigError(
                f"This model has a learned embedding for each of the timesteps 0 to {entries - 1}, "
                f"but none for {t.tolist()}. Choose a sampler and a number of steps that use only "
                "whole timesteps."
            )
        return self.time_proj(whole)
