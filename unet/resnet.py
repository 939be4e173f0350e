"""The residual block."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.linear import applied
from ..networks.normalization import Activation, normalized, overwrites
from .normalization import group_norm

Resample = Callable[[Tensor], Tensor]


class ResnetBlock(nn.Module):
    """GroupNorm, activation, 3x3 convolution, twice, with the time embedding added in between.

    Shapes: x (B, in, H, W) and temb (B, temb_channels) to (B, out, H, W), or to another size
    with ``resample``.

    Args:
        groups, groups_out: of the first and the second normalisation.
        scale_shift: the time embedding scales and shifts the second normalisation (Dhariwal &
            Nichol 2021) instead of being added before it.
        resample: applied to both branches before the first convolution.
        always_shortcut: use a 1x1 convolution on the residual even if the width does not change.

    Raises:
        ConfigError: the widths cannot be divided into the groups, or ``groups`` is None.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        temb_channels: int,
        groups: int | None,
        groups_out: int | None,
        eps: float,
        activation: Activation,
        scale_shift: bool = False,
        dropout: float = 0.0,
        output_scale_factor: float = 1.0,
        resample: Resample | None = None,
        always_shortcut: bool = False,
        operations: Any,
        **factory: Any,
    ):
        super().__init__()
        layers: dict[str, Any] = {"operations": operations, **factory}
        self.activation = activation
        self.resample = resample
        self.scale_shift = scale_shift
        self.output_scale_factor = output_scale_factor
        self.norm1 = group_norm(groups, in_channels, eps=eps, **layers)
        self.conv1 = operations.Conv2d(in_channels, out_channels, 3, padding=1, **factory)
        self.time_emb_proj = operations.Linear(
            temb_channels, 2 * out_channels if scale_shift else out_channels, **factory
        )
        self.norm2 = group_norm(groups_out, out_channels, eps=eps, **layers)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1, **factory)
        self.conv_shortcut = (
            operations.Conv2d(in_channels, out_channels, 1, **factory)
            if always_shortcut or in_channels != out_channels
            else None
        )

    @property
    def projections(self) -> tuple[nn.Module, ...]:
        """The layers that ``applied`` computes."""
        return (self.time_emb_proj,)

    def forward(self, x: Tensor, temb: Tensor, *, overwrite: bool = False) -> Tensor:
        """Compute the block.

        Args:
            overwrite: whether nobody needs x afterwards; then the block needs less memory.
        """
        # Training needs the layers' outputs; otherwise the next operation may overwrite them.
        inplace = not torch.is_grad_enabled()
        shortcut = None
        if overwrite and self._gains_from_overwriting(x):
            shortcut = self._shortcut(x)
        hidden = normalized(self.norm1, x, self.activation, overwrite=shortcut is not None)
        if self.resample is not None:
            x, hidden = self.resample(x), self.resample(hidden)
        hidden = self.conv1(hidden)
        time = applied(self.time_emb_proj, self.activation(temb))[:, :, None, None]
        if self.scale_shift:
            scale, shift = time.chunk(2, dim=1)
            hidden = normalized(self.norm2, hidden, overwrite=inplace)
            hidden = hidden * (1 + scale)
            hidden = self.activation(hidden + shift, inplace=inplace)
        else:
            hidden = hidden.add_(time) if inplace else hidden + time
            hidden = normalized(self.norm2, hidden, self.activation, overwrite=inplace)
        hidden = self.conv2(self.dropout(hidden))
        if shortcut is None:
            shortcut = self._shortcut(x)
        out = hidden.add_(shortcut) if inplace else shortcut + hidden
        if self.output_scale_factor == 1.0:
            return out
        return out.div_(self.output_scale_factor) if inplace else out / self.output_scale_factor

    def _shortcut(self, x: Tensor) -> Tensor:
        return x if self.conv_shortcut is None else self.conv_shortcut(x)

    def _gains_from_overwriting(self, x: Tensor) -> bool:
        """Whether the first norm can overwrite x if the shortcut is computed before it."""
        return (
            self.resample is None
            and self.conv_shortcut is not None
            # The shortcut stays in memory meanwhile.
            and 2 * self.conv2.out_channels <= self.conv1.in_channels
            and overwrites(self.norm1, x)
        )
