"""In the real ComfyUI: contact sheets and animations of Image Output."""

import numpy as np
import pytest
from graphs import files, frames_of, read_metadata
from PIL import Image
from sampler_graphs import output, sampler, trajectory


@pytest.mark.parametrize("file_format", ["png", "webp"])
def test_each_row_of_the_grid_is_one_image_appearing(file_format, wires, bench):
    watched = trajectory(wires)
    key = output(wires, [watched[0], 1], grid=True, scale=2, format=file_format)
    alone = output(wires, [watched[0], 1], scale=2)
    run = bench.run(wires)
    (sheet,) = files(bench.host, run, key)
    assert sheet.suffix == f".{file_format}"
    assert "animated" not in run.outputs[key]
    pixels = np.asarray(Image.open(sheet).convert("L"))
    assert pixels.shape == (2 * (2 * 17 - 1), 2 * (5 * 17 - 1))  # 18 evaluations: 4, and the last
    for k, path in enumerate(files(bench.host, run, alone)):
        top, left = k // 5 * 34, k % 5 * 34
        assert np.array_equal(
            pixels[top : top + 32, left : left + 32], np.asarray(Image.open(path))
        )
    metadata = read_metadata(sheet)
    assert {"prompt", "workflow"} <= set(metadata)
    record = metadata["unconditional"]
    assert record["sampler"] == "PNDM"
    assert [one["seed"] for one in record["images"]] == [7] * 5 + [8] * 5
    assert [one.get("evaluation") for one in record["images"]] == [0, 5, 10, 15, None] * 2


def test_the_grid_of_a_batch_is_nearly_square_or_as_wide_as_asked(wires, bench):
    plain = sampler(wires, "DDIM", wires.model(), batch_size=5)
    square = output(wires, plain, grid=True)
    narrow = output(wires, plain, grid=True, columns=2)
    run = bench.run(wires)
    for key, (columns, rows) in {square: (3, 2), narrow: (2, 3)}.items():
        (sheet,) = files(bench.host, run, key)
        assert Image.open(sheet).size == (columns * 17 - 1, rows * 17 - 1)
        assert [one["seed"] for one in read_metadata(sheet)["unconditional"]["images"]] == [
            *range(7, 12)
        ]


def test_other_nodes_that_pick_from_a_trajectory_do_not_mislead_the_grid(wires, bench):
    frames = [trajectory(wires)[0], 1]
    second = wires("LatentFromBatch", samples=frames, batch_index=5, length=5)
    some = wires("LatentFromBatch", samples=frames, batch_index=3, length=5)
    keys = [output(wires, link, grid=True) for link in (second, some)]
    run = bench.run(wires)
    sizes = [Image.open(files(bench.host, run, key)[0]).size for key in keys]
    assert sizes == [(5 * 17 - 1, 16), (3 * 17 - 1, 2 * 17 - 1)]


def test_npy_stays_the_whole_batch_whatever_the_grid(wires, bench):
    key = output(wires, [trajectory(wires)[0], 1], grid=True, format="npy")
    before = set(bench.host.output.glob("trajectory*.npy"))
    shown = files(bench.host, bench.run(wires), key)
    (saved,) = set(bench.host.output.glob("trajectory*.npy")) - before
    assert np.load(saved).shape == (10, 16, 16, 1)
    assert len(shown) == 10


# Animation


def test_an_animation_shows_each_image_of_a_trajectory_in_its_own_file(wires, bench):
    watched = trajectory(wires)
    key = output(wires, [watched[0], 1], format="animated webp", scale=2, fps=10)
    alone = output(wires, [watched[0], 1], scale=2)
    run = bench.run(wires)
    assert run.outputs[key]["animated"] == [True]
    films = files(bench.host, run, key)
    assert len(films) == 2
    pictures = [np.asarray(Image.open(path)) for path in files(bench.host, run, alone)]
    for k, film in enumerate(films):
        assert film.suffix == ".webp"
        frames, durations = frames_of(film)
        assert durations == [100, 100, 100, 100, 1500]
        for frame, picture in zip(frames, pictures[5 * k : 5 * k + 5], strict=True):
            assert np.array_equal(frame, picture)
        metadata = read_metadata(film)
        assert {"prompt", "workflow"} <= set(metadata)
        assert metadata["unconditional"]["seed"] == 7 + k


def test_with_grid_the_images_of_a_trajectory_appear_side_by_side_in_one_file(wires, bench):
    watched = trajectory(wires)
    moving = output(wires, [watched[0], 1], format="animated webp", grid=True)
    still = output(wires, [watched[0], 1], grid=True)
    run = bench.run(wires)
    (film,) = files(bench.host, run, moving)
    (sheet,) = files(bench.host, run, still)
    rows = np.asarray(Image.open(sheet))
    frames, durations = frames_of(film)
    assert durations == [125] * 4 + [1500]
    for k, frame in enumerate(frames):
        assert frame.shape == (16, 33)
        column = rows[:, 17 * k : 17 * k + 16]
        assert np.array_equal(frame[:, :16], column[:16])
        assert np.array_equal(frame[:, 17:], column[17:])


def test_a_batch_is_one_animation_with_equal_times(wires, bench):
    plain = sampler(wires, "DDIM", wires.model(), batch_size=3)
    key = output(wires, plain, format="animated webp", fps=30, grid=True)
    alone = output(
        wires, sampler(wires, "DDIM", wires.model(), batch_size=1), format="animated webp"
    )
    run = bench.run(wires)
    (film,) = files(bench.host, run, key)
    frames, durations = frames_of(film)
    assert [frame.shape for frame in frames] == [(16, 16)] * 3
    assert durations == [33, 34, 33]
    assert [one["seed"] for one in read_metadata(film)["unconditional"]["images"]] == [7, 8, 9]
    (single,) = files(bench.host, run, alone)
    assert getattr(Image.open(single), "n_frames", 1) == 1
