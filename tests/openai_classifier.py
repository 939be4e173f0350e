"""Classifiers in the form of their files."""

import torch
from torch import Tensor

_TIME = 256


def openai_weights(classes: int = 3) -> dict[str, Tensor]:
    """The tensors of a tiny classifier of OpenAI's layout: 16 x 16 grey pixels, two levels.

    The first level has one residual block of 64 channels, the second one of 128 with attention.
    """
    shapes: dict[str, tuple[int, ...]] = {
        **_linear("time_embed.0", _TIME, 64),
        **_linear("time_embed.2", _TIME, _TIME),
        **_linear("input_blocks.0.0", 64, 1, 3, 3),
        **_residual("input_blocks.1.0", 64, 64),
        **_residual("input_blocks.2.0", 64, 64),  # halves the image
        **_residual("input_blocks.3.0", 64, 128),
        **_attention("input_blocks.3.1", 128),
        **_residual("middle_block.0", 128, 128),
        **_attention("middle_block.1", 128),
        **_residual("middle_block.2", 128, 128),
        **_linear("out.0", 128),
        "out.2.positional_embedding": (128, 8 * 8 + 1),
        **_linear("out.2.qkv_proj", 3 * 128, 128, 1),
        **_linear("out.2.c_proj", classes, 128, 1),
    }
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(s, generator=generator) * 0.1 for name, s in shapes.items()}


def _linear(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _residual(name: str, width: int, wide: int) -> dict[str, tuple[int, ...]]:
    shapes = {
        **_linear(f"{name}.in_layers.0", width),
        **_linear(f"{name}.in_layers.2", wide, width, 3, 3),
        **_linear(f"{name}.emb_layers.1", 2 * wide, _TIME),
        **_linear(f"{name}.out_layers.0", wide),
        **_linear(f"{name}.out_layers.3", wide, wide, 3, 3),
    }
    return shapes | (_linear(f"{name}.skip_connection", wide, width, 1, 1) if wide != width else {})


def _attention(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        **_linear(f"{name}.norm", width),
        **_linear(f"{name}.qkv", 3 * width, width, 1),
        **_linear(f"{name}.proj_out", width, width, 1),
    }
