"""Group normalisation that says in words which groups do not fit."""

from typing import Any

from torch import nn

from .errors import ConfigError


def group_norm(
    groups: int | None, channels: int, *, eps: float, operations: Any, **factory: Any
) -> nn.Module:
    """Return a GroupNorm of ``operations``.

    Raises:
        ConfigError: ``channels`` cannot be divided into ``groups``, or no groups were chosen.
    """
    if groups is None:
        raise ConfigError(
            "'norm_num_groups' may be null only where all blocks are Skip blocks: those choose "
            "their own groups. Write a number, usually 32."
        )
    if groups < 1 or channels % groups:
        raise ConfigError(
            f"'norm_num_groups' or 'attn_norm_num_groups' must divide the channels that they "
            f"normalise, but {channels} channels were to be divided into {groups} groups. (Skip "
            "blocks choose their own: a quarter of the channels, at most 32, and 32 for attention.)"
        )
    return operations.GroupNorm(groups, channels, eps=eps, **factory)


def quarter_groups(channels: int) -> int:
    """How many groups ``channels`` have where the configuration does not decide (NCSN++)."""
    return min(channels // 4, 32)
