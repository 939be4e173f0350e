"""Contact sheets and films: where each picture of a batch goes."""

import pytest
import torch
from comfyui_unconditional.pictures.animation import check_fps, frame_durations
from comfyui_unconditional.pictures.arrangement import arrange_films, arrange_sheet
from comfyui_unconditional.pictures.contact_sheet import gap_between, make_sheet
from comfyui_unconditional.pictures.provenance import (
    KEY,
    find_frames,
    find_records,
    gather_records,
    make_frame_records,
    make_records,
    mark_frames,
)
from torch import Tensor

GREY = 40 / 255


def pictures(count: int, height: int = 3, width: int = 5, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, height, width, channels, generator=generator)


def seeded(*seeds: int) -> list[dict[str, int]]:
    return [{"seed": seed} for seed in seeds]


def cell(sheet: Tensor, row: int, column: int, height: int = 3, width: int = 5) -> Tensor:
    top, left = row * (height + 1), column * (width + 1)
    return sheet[top : top + height, left : left + width]


# Contact sheets


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (5, 3, 2), (6, 3, 2), (4, 1, 4)])
def test_pictures_are_in_reading_order_with_grey_between_and_after(count, columns, rows, channels):
    images = pictures(count, channels=channels)
    sheet = make_sheet(images, columns)
    assert sheet.shape == (rows * 4 - 1, columns * 6 - 1, channels)
    for k in range(rows * columns):
        found = cell(sheet, k // columns, k % columns)
        if k < count:
            assert torch.equal(found, images[k])
            found.fill_(torch.nan)
    rest = sheet[~sheet.isnan().any(-1)]
    grey = torch.full((channels,), GREY)
    if channels == 4:
        grey[3] = 1  # opaque
    assert torch.equal(rest, grey.expand_as(rest))


def test_a_sheet_is_no_wider_than_its_pictures():
    assert make_sheet(pictures(2), 1000).shape == (3, 11, 3)


@pytest.mark.parametrize(("side", "gap"), [(8, 1), (16, 1), (32, 1), (64, 2), (256, 8)])
def test_the_gap_grows_with_the_pictures(side, gap):
    assert gap_between(side, 2 * side) == gap
    assert make_sheet(pictures(2, side, side), 2).shape[1] == 2 * side + gap


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (16, 4)])
def test_without_a_number_of_columns_the_sheet_is_nearly_square(count, columns):
    sheet, _ = arrange_sheet(pictures(count), [None] * count, frames=1, columns=0)
    assert sheet.shape == (1, -(-count // columns) * 4 - 1, columns * 6 - 1, 3)


def test_each_row_of_a_trajectory_is_one_image():
    images = pictures(8)
    (sheet,), _ = arrange_sheet(images, [None] * 8, frames=4, columns=0)
    for row in range(2):
        for column in range(4):
            assert torch.equal(cell(sheet, row, column), images[4 * row + column])


# Films


def test_a_batch_is_one_animation_and_a_trajectory_one_for_each_image():
    images, records = pictures(6), [{"seed": k // 3, "evaluation": k % 3} for k in range(6)]
    films, (record,) = arrange_films(images, records, frames=1, grid=True, columns=2)
    assert torch.equal(films, images[None])
    assert record == {"images": records}
    films, (first, second) = arrange_films(images, records, frames=3, grid=False, columns=2)
    assert torch.equal(films, torch.stack((images[:3], images[3:])))
    assert first == {"seed": 0, "images": [{"evaluation": k} for k in range(3)]}
    assert second == {"seed": 1, "images": [{"evaluation": k} for k in range(3)]}


@pytest.mark.parametrize(("columns", "places"), [(0, 2), (1, 1), (3, 3)])
def test_in_a_grid_the_images_of_a_trajectory_appear_side_by_side(columns, places):
    images, records = pictures(6), [{"seed": k // 2} for k in range(6)]
    films, (record,) = arrange_films(images, records, frames=2, grid=True, columns=columns)
    assert films.shape[:2] == (1, 2)
    for moment in range(2):
        for k in range(3):
            found = cell(films[0, moment], k // places, k % places)
            assert torch.equal(found, images[2 * k + moment])
    assert record == {"images": records}


@pytest.mark.parametrize("fps", [0.1, 8, 24, 30, 60])
def test_durations_follow_the_frames_per_second_without_drifting(fps):
    durations = frame_durations(50, fps, hold_last=False)
    assert sum(durations) == round(50 * 1000 / fps)
    assert max(durations) - min(durations) <= 1


def test_the_finished_image_stays_longer():
    assert frame_durations(3, 8, hold_last=True) == [125, 125, 1500]
    assert frame_durations(3, 0.5, hold_last=True) == [2000, 2000, 2000]


@pytest.mark.parametrize("fps", [0, -1, 61, float("nan"), float("inf")])
def test_frames_per_second_out_of_range_are_rejected(fps):
    with pytest.raises(
        ValueError, match=f"fps must be from 0.1 to 60 frames per second, not {fps}"
    ):
        check_fps(fps)


# What a LATENT knows about its frames


def trajectory(images: int = 2, frames: int = 3) -> dict[str, Tensor]:
    samples = pictures(images * frames)
    return {"samples": samples, **mark_frames(samples, frames)}


def test_whole_trajectories_are_known_in_any_order_and_number():
    latent = trajectory()
    samples = latent["samples"]
    assert find_frames(latent) == 3
    assert find_frames({**latent, "samples": samples[3:]}) == 3
    assert find_frames({**latent, "samples": torch.cat((samples[3:], samples[:3]))}) == 3


@pytest.mark.parametrize("indices", [[0, 1], [1, 2, 3], [0, 2, 1], [0, 3, 1, 4, 2, 5], [0]])
def test_frames_that_another_node_selected_or_shuffled_are_not_a_trajectory(indices):
    latent = trajectory()
    assert find_frames({**latent, "samples": latent["samples"][indices]}) == 1


def test_changed_frames_and_other_batches_are_not_a_trajectory():
    latent = trajectory()
    assert find_frames({**latent, "samples": latent["samples"] * 0.5}) == 1
    assert find_frames({**latent, "samples": pictures(9)}) == 1
    assert find_frames({"samples": latent["samples"]}) == 1


def test_a_trajectory_that_ends_with_equal_frames_is_still_one():
    # DDIM's last prediction is its final image if nothing is clipped.
    samples = pictures(6)
    samples[1], samples[4] = samples[2], samples[5]
    latent = {"samples": samples, **mark_frames(samples, 3)}
    assert find_frames(latent) == 3


def test_each_frame_has_the_record_of_its_image_and_its_own():
    samples = pictures(4)
    final = {
        KEY: make_records(samples[1::2], seeded(7, 8), {"steps": 5}),
        "samples": samples[1::2],
    }
    records = make_frame_records(samples, find_records(final), [{"t": 900}, {}])
    assert find_records({KEY: records, "samples": samples}) == [
        {"seed": 7, "steps": 5, "t": 900},
        {"seed": 7, "steps": 5},
        {"seed": 8, "steps": 5, "t": 900},
        {"seed": 8, "steps": 5},
    ]


def test_equal_images_of_a_batch_get_the_seed_of_each_in_order():
    samples = pictures(4)
    samples[0] = samples[2] = samples[3]
    records = make_records(samples, seeded(7, 8, 9, 10), {"steps": 5})
    found = find_records({KEY: records, "samples": samples})
    assert [record and record["seed"] for record in found] == [7, 8, 9, 10]


def test_a_selection_of_equal_images_gets_every_possible_seed():
    samples = pictures(4)
    samples[0] = samples[2] = samples[3]
    records = make_records(samples, seeded(7, 8, 9, 10), {"steps": 5})
    either = {"steps": 5, "one_of": [{"seed": 7}, {"seed": 9}, {"seed": 10}]}
    for picked in ([1, 2], [2, 1, 0], [0, 0, 1, 0, 0]):
        found = find_records({KEY: records, "samples": samples[picked]})
        expected = [{"seed": 8, "steps": 5} if k == 1 else either for k in picked]
        assert found == expected


def test_an_image_that_was_repeated_keeps_its_seed():
    samples = pictures(2)
    records = make_records(samples, seeded(7, 8), {"steps": 5})
    found = find_records({KEY: records, "samples": samples[[0, 0, 1]]})
    assert [record and record["seed"] for record in found] == [7, 7, 8]


def test_equal_frames_get_the_record_of_each_in_order():
    samples = pictures(1).repeat(6, 1, 1, 1)
    images = [{"seed": 7}, {"seed": 8}]
    frames = [{"t": 900}, {"t": 450}, {}]
    records = make_frame_records(samples, images, frames)
    expected = [{**image, **frame} for image in images for frame in frames]
    assert find_records({KEY: records, "samples": samples}) == expected


def test_the_record_of_several_pictures_stores_common_values_once():
    one, two = {"seed": 1, "steps": 5}, {"seed": 2, "steps": 5}
    assert gather_records([one, two]) == {"steps": 5, "images": [{"seed": 1}, {"seed": 2}]}
    assert gather_records([one, None]) == {"seed": 1, "steps": 5, "images": [{}, None]}
    assert gather_records([None, None]) is None
