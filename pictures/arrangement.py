"""Arrange a batch as pictures and films, each with its record."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .contact_sheet import make_sheet, square_columns
from .provenance import Record, gather_records


def arrange_sheet(
    images: Tensor, records: Sequence[Record | None], *, frames: int, columns: int
) -> tuple[Tensor, list[Record | None]]:
    """Return one contact sheet of the batch, shape (1, H', W', C), with its record.

    Args:
        images: shape (B, H, W, C) in 0..1.
        records: one for each image.
        frames: the number of frames per image of a trajectory; 1 if the batch is not a trajectory.
        columns: pictures per row; 0 means the frames of one image for a trajectory, otherwise as
            close to a square as possible.
    """
    columns = columns or (frames if frames > 1 else square_columns(len(images)))
    return make_sheet(images, columns)[None], [gather_records(records)]


def arrange_films(
    images: Tensor,
    records: Sequence[Record | None],
    *,
    frames: int,
    grid: bool,
    columns: int,
) -> tuple[Tensor, list[Record | None]]:
    """Return films, shape (K, F, H', W', C), with the record of each.

    A batch becomes one film. A trajectory becomes one film per image or, with ``grid``, one film
    with all images side by side.

    Args:
        images, records, frames: as for ``arrange_sheet``.
        grid: used for trajectories only.
        columns: of the grid.
    """
    if frames == 1:
        return images[None], [gather_records(records)]
    films = images.unflatten(0, (-1, frames))
    if not grid:
        parts = [records[k : k + frames] for k in range(0, len(records), frames)]
        return films, [gather_records(part) for part in parts]
    columns = columns or square_columns(len(films))
    sheets = [make_sheet(moment, columns) for moment in films.transpose(0, 1)]
    return torch.stack(sheets)[None], [gather_records(records)]
