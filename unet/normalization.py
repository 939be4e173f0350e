"""Group normalisation that explains which groups do not fit."""

from typing import Any

from torch import nn

from ..networks.errors import ConfigError


def group_norm(
    groups: int | None, channels: int, *, eps: float, operations: Any, **factory: Any
) -> nn.Module:
    """Return a GroupNorm of ``operations``.

    Raises:
        ConfigError: ``channels`` cannot be divided into ``groups``, or ``groups`` is None.
    """
    if groups is None:
        raise ConfigError(
            "'norm_num_groups' may be null only if all blocks are Skip blocks, which choose their "
            "own groups. Set it to a number, usually 32."
        )
    if groups < 1 or channels % groups:
        raise ConfigError(
            f"{channels} channels cannot be divided into {groups} groups. 'norm_num_groups' and "
            "'attn_norm_num_groups' must divide the channels that they normalise. (Skip blocks "
            "choose their own: a quarter of the channels, at most 32, and 32 for attention.)"
        )
    return operations.GroupNorm(groups, channels, eps=eps, **factory)


def quarter_groups(channels: int) -> int:
    """Return the number of groups where the configuration does not set it (NCSN++)."""
    return min(channels // 4, 32)
