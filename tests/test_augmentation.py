"""Augmentation: the transformations of a picture, and the labels that the network receives."""

import math

import pytest
import torch
from comfyui_unconditional.training import augmentation
from comfyui_unconditional.training.augmentation import LABELS, augment
from torch import Tensor

MIRRORED_X, MIRRORED_Y, SCALED = 0, 1, 2
TURNED, STRETCHED, SHIFTED = slice(3, 5), slice(5, 7), slice(7, 9)


def pictures(n: int, h: int = 8, w: int = 8) -> Tensor:
    """Smooth pictures, which interpolation hardly changes, without any symmetry."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    return torch.stack((0.6 * x + 0.3 * y * y, 0.5 * y - 0.2 * x)).expand(n, 2, h, w).contiguous()


def drawn(x0: Tensor, probability: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    return augment(x0, probability, torch.Generator().manual_seed(seed))


@pytest.fixture
def only(monkeypatch):
    """Leave out all transformations but one, by making the others' labels and effects 0."""

    def choose(kind: str) -> None:
        names = ["mirror x", "mirror y", "scale", "turn", "stretch", "shift"]
        order = iter(names * 100)
        rand = torch.rand

        def chosen(*shape: int, generator: torch.Generator) -> Tensor:
            values = rand(*shape, generator=generator)
            if len(shape) == 1:  # whether a transformation is applied
                return torch.full(shape, 0.0 if next(order) == kind else 1.0)
            return values

        monkeypatch.setattr(augmentation.torch, "rand", chosen)

    return choose


def test_the_labels_are_0_exactly_for_untouched_pictures():
    x0 = torch.rand(400, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x, labels = drawn(x0, 0.12)
    assert labels.shape == (400, LABELS)
    untouched = (labels == 0).all(1)
    same = (x == x0).flatten(1).all(1)
    assert torch.equal(untouched, same)
    assert 0.4 < untouched.float().mean() < 0.65  # 0.88^6, and a mirror may leave all as it is


def test_nothing_is_done_with_probability_0():
    x0 = pictures(9)
    x, labels = drawn(x0, 0.0)
    assert torch.equal(x, x0)
    assert not labels.any()


def test_the_same_generator_gives_the_same_augmentation():
    first, second = drawn(pictures(9), seed=3), drawn(pictures(9), seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], drawn(pictures(9), seed=4)[0])


@pytest.mark.parametrize(
    ("kind", "label", "side"), [("mirror x", MIRRORED_X, -1), ("mirror y", MIRRORED_Y, -2)]
)
@pytest.mark.parametrize("size", [(8, 8), (6, 10)])
def test_a_mirrored_picture_is_flipped_and_labelled(only, kind, label, side, size):
    only(kind)
    x0 = pictures(30, *size)
    x, labels = drawn(x0)
    mirrored = labels[:, label] == 1
    assert 5 < mirrored.sum() < 25
    assert torch.equal(labels.any(1), mirrored)
    torch.testing.assert_close(x[mirrored], x0[mirrored].flip(side), rtol=0, atol=1e-5)
    assert torch.equal(x[~mirrored], x0[~mirrored])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_is_labelled_with_its_cosine_and_sine(only, monkeypatch, quarters):
    only("turn")
    angle = {1: 0.5, 2: 1.0, 3: -0.5}[quarters]
    rand = torch.rand

    def turned(*shape: int, generator: torch.Generator) -> Tensor:
        return (
            torch.full(shape, (angle + 1) / 2)
            if len(shape) == 2
            else rand(*shape, generator=generator)
        )

    monkeypatch.setattr(augmentation.torch, "rand", turned)
    x, labels = drawn(pictures(1))
    a = angle * math.pi
    torch.testing.assert_close(labels[0, TURNED], torch.tensor([math.cos(a) - 1, math.sin(a)]))
    assert not labels[0, [MIRRORED_X, MIRRORED_Y, SCALED]].any()
    torch.testing.assert_close(x, pictures(1).rot90(-quarters, (-2, -1)), rtol=0, atol=1e-5)


def centre_of(x: Tensor) -> Tensor:
    """The centre of the bright part, (n, 2) as x and y, relative to the picture's size and
    middle."""
    h, w = x.shape[-2:]
    weight = x[:, 0] + 1
    total = weight.sum((1, 2))
    across = (weight * ((torch.arange(w) + 0.5) / w - 0.5)).sum((1, 2)) / total
    down = (weight * ((torch.arange(h) + 0.5) / h - 0.5)[:, None]).sum((1, 2)) / total
    return torch.stack((across, down), dim=1)


def spot(n: int, h: int = 32, w: int = 32, sides: tuple[float, float] = (0.08, 0.08)) -> Tensor:
    """A bright spot in the middle, with these deviations across and down."""
    x, y = (torch.arange(w) + 0.5) / w - 0.5, ((torch.arange(h) + 0.5) / h - 0.5)[:, None]
    bright = torch.exp(-0.5 * ((x / sides[0]) ** 2 + (y / sides[1]) ** 2))
    return (bright * 2 - 1).expand(n, 1, h, w).contiguous()


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_a_shift_moves_the_picture_by_an_eighth_for_a_label_of_1(only, size):
    only("shift")
    x, labels = drawn(spot(40, *size))
    near = (labels[:, SHIFTED].abs() < 1.5).all(1)  # the spot stays inside
    assert near.sum() > 20
    moved = centre_of(x)[near]
    torch.testing.assert_close(moved, labels[near, SHIFTED] * 0.125, rtol=0.03, atol=0.01)


def deviations(x: Tensor) -> Tensor:
    """How wide the bright part is, (n, 2) across and down."""
    n = (torch.arange(x.shape[-1]) + 0.5) / x.shape[-1] - 0.5
    weight = x[:, 0] + 1
    total = weight.sum((1, 2))
    across = (weight * n**2).sum((1, 2)) / total
    down = (weight * n[:, None] ** 2).sum((1, 2)) / total
    return torch.stack((across, down), dim=1).sqrt()


def test_a_scaled_picture_is_larger_by_2_to_a_fifth_of_its_label(only):
    only("scale")
    x, labels = drawn(spot(40))
    factor = deviations(x) / deviations(spot(40))
    expected = torch.exp2(0.2 * labels[:, SCALED, None]).expand(40, 2)
    torch.testing.assert_close(factor, expected, rtol=0.03, atol=0)
    assert labels[:, SCALED].std() > 0.7


def test_a_stretched_picture_is_longer_along_an_axis_and_as_much_shorter_across(only):
    only("stretch")
    x, labels = drawn(spot(40))
    stretch = labels[:, STRETCHED]
    strength, angle = 0.2 * stretch.norm(dim=1), torch.atan2(stretch[:, 1], stretch[:, 0]) / 2
    along, across = torch.exp2(2 * strength), torch.exp2(-2 * strength)
    expected = torch.stack(
        (
            along * angle.cos() ** 2 + across * angle.sin() ** 2,
            along * angle.sin() ** 2 + across * angle.cos() ** 2,
        ),
        dim=1,
    ).sqrt()
    factor = deviations(x) / deviations(spot(40))
    torch.testing.assert_close(factor, expected, rtol=0.03, atol=0)
    assert strength.max() > 0.2


def test_a_wide_picture_is_turned_without_distortion(only):
    only("turn")
    x0 = spot(20, 32, 48, (0.08 * 32 / 48, 0.08))  # round, in pixels
    x, labels = drawn(x0)
    assert labels[:, TURNED].abs().max() > 1
    inner = (..., slice(8, -8), slice(16, -16))  # the border is mirrored into the corners
    torch.testing.assert_close(x[inner], x0[inner], rtol=0, atol=0.1)


def test_pictures_stay_within_their_range():
    x0 = torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x, _ = drawn(x0, 0.9)
    assert x.min() >= x0.min()
    assert x.max() <= x0.max()
