"""Augmentation that does not leak into the generated images (Karras et al. 2022, appendix F).

Pictures are mirrored, scaled, rotated, stretched and shifted at random, and the network receives
the transformation of each as an embedding. It has no bias, so at 0, "not transformed", it adds
nothing: the trained network alone generates images like the originals, and the embedding is
dropped.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LABELS = 9
"""Mirrored x, y; scaled; rotated (2); stretched (2); shifted x, y."""

# The spreads of the paper's table 6.
_SCALE = 0.2
_STRETCH = 0.2
_SHIFT = 0.125


def augment(x0: Tensor, probability: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Transform each picture at random, and return how.

    Args:
        x0: shape (B, C, H, W); the border is mirrored where a picture does not reach.
        probability: of each of the six transformations, for each picture.
        generator: on the CPU.

    Returns:
        The pictures, and the transformation of each: shape (B, 9) on the same device, 0 for none.
    """
    n, (height, width) = len(x0), x0.shape[-2:]

    def applied(values: Tensor) -> Tensor:
        chosen = torch.rand(n, generator=generator) < probability
        return torch.where(chosen.view(-1, *[1] * (values.ndim - 1)), values, 0)

    # The parameters. A transformation that is not chosen has the parameter 0.
    normal = torch.randn(n, 4, generator=generator)
    angles = torch.rand(n, 2, generator=generator) * 2 - 1
    mirrored_x, mirrored_y = (
        applied(torch.randint(2, (n,), generator=generator).float()) for _ in range(2)
    )
    scale = applied(normal[:, 0]) * _SCALE
    turn = applied(angles[:, 0]) * math.pi
    axis = angles[:, 1] * (math.pi / 2)
    stretch = applied(normal[:, 1]) * _STRETCH
    shift = applied(normal[:, 2:]) * _SHIFT

    # One matrix for each picture, from the result's coordinates to the picture's, in pixels.
    zoom = torch.exp2(-scale)
    matrix = _rotation(-turn) @ _diagonal(zoom, zoom)
    pull = torch.exp2(-stretch)
    matrix = matrix @ _rotation(axis) @ _diagonal(pull, 1 / pull) @ _rotation(-axis)
    matrix = _diagonal(1 - 2 * mirrored_x, 1 - 2 * mirrored_y) @ matrix
    # grid_sample's coordinates go from -1 to 1 along each side.
    sides = torch.tensor([width, height], dtype=torch.float32)
    matrix = matrix * sides[None, None, :] / sides[None, :, None]
    theta = torch.cat((matrix, -2 * shift[:, :, None]), dim=2).to(x0.device)
    grid = F.affine_grid(theta, list(x0.shape), align_corners=False)
    moved = F.grid_sample(x0, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    # Twice the angle: a stretch along an axis is a squeeze across it.
    stretched = stretch[:, None] * torch.stack(((2 * axis).cos(), (2 * axis).sin()), dim=1)
    turned = torch.stack((turn.cos() - 1, turn.sin()), dim=1)
    labels = torch.cat(
        (
            torch.stack((mirrored_x, mirrored_y, scale / _SCALE), dim=1),
            turned,
            stretched / _STRETCH,
            shift / _SHIFT,
        ),
        dim=1,
    ).to(x0.device)
    # A picture that is not transformed stays the same, to the last bit.
    untouched = (labels == 0).all(1)
    return torch.where(untouched[:, None, None, None], x0, moved), labels


def _rotation(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((cos, -sin, sin, cos), dim=1).unflatten(1, (2, 2))


def _diagonal(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack((x, y), dim=1))
