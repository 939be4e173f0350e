"""Windows: they cover an image evenly, and where they overlap their predictions blend."""

import itertools
import random

import pytest
import torch
from comfyui_unconditional.networks.windows import Cover, Windows, predict_in_windows

SEEDS = range(30)


def some_cover(seed: int) -> tuple[Cover, Windows, int, int]:
    draw = random.Random(seed)
    wrap = draw.choice(["none", "both", "x", "y"])
    windows = Windows(draw.randint(1, 12), draw.randint(1, 12), draw.random() * 0.9, wrap)
    height, width = draw.randint(1, 40), draw.randint(1, 40)
    return Cover(height, width, windows, draw.choice(["none", "x", "y"])), windows, height, width


@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_that_changes_nothing_gives_the_image_in_any_windows(seed):
    cover, windows, height, width = some_cover(seed)
    assert cover.size == (min(height, windows.height), min(width, windows.width))
    x, seen = torch.randn(3, 2, height, width), []

    def predict(part, timesteps, last):
        assert part.shape[1:] == (2, *cover.size)
        assert torch.equal(part, last)
        seen.append(len(part))
        return part * timesteps[:, None, None, None]  # each image has its own

    times, done = torch.tensor([1.0, 2.0, 3.0]), []
    found = predict_in_windows(predict, cover, x, times, {"last": x}, 5, done.append)
    assert (found - x * times[:, None, None, None]).abs().max() < 1e-5
    assert set(seen) == {min(5, 3 * len(cover))}
    assert done[-1] == 3 * len(cover)


@pytest.mark.parametrize("seed", SEEDS)
def test_windows_overlap_evenly_and_as_much_as_requested(seed):
    cover, windows, height, width = some_cover(seed)
    places = torch.arange(height * width).view(1, 1, height, width)
    cut = cover.cut(places, range(len(cover)))[:, 0]
    for first, size, length in (
        (cut[:, 0, 0] // width, windows.height, height),
        (cut[:, 0, 0] % width, windows.width, width),
    ):
        starts = first.unique().tolist()
        steps = [b - a for a, b in itertools.pairwise(starts)]
        if size >= length:
            assert starts == [0]
        else:
            assert max(steps) <= max(1, size - round(windows.overlap * size))
            assert max(steps) - min(steps) <= 1


def test_windows_that_wrap_treat_every_place_the_same():
    cover = Cover(16, 24, Windows(8, 8, 0.5, "both"))
    assert len(cover) == 4 * 6
    x = torch.randn(1, 1, 16, 24)

    def average(part, _):
        return part.mean((2, 3), keepdim=True).expand_as(part)

    def blend(image):
        times = torch.zeros(1)
        return predict_in_windows(average, cover, image, times, {}, 7, lambda _: None)

    moved = x.roll((4, 8), (2, 3))
    assert (blend(moved) - blend(x).roll((4, 8), (2, 3))).abs().max() < 1e-6


def test_edges_are_joined_only_where_one_window_has_both():
    windows = Windows(8, 8, 0.25, "both")
    assert Cover(8, 20, windows).joined == {"y": True, "x": False}
    assert Cover(20, 4, windows, "y").joined == {"y": False, "x": True}
    assert Cover(8, 8, Windows(8, 8, 0.25), "x").joined == {"y": False, "x": True}
    assert Cover(20, 20, None, "both").joined == {"y": True, "x": True}
    assert Cover(8, 8, None).joined == {"y": False, "x": False}
