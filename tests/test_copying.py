"""The gauge that says whether a model copies its training pictures."""

import pytest
import torch
from comfyui_unconditional.models.digits import digits
from comfyui_unconditional.training.copying import CopyGauge
from comfyui_unconditional.training.nearest import Search
from comfyui_unconditional.training.picture_set import PictureSet
from live_tensors import peak_bytes
from sklearn.datasets import load_sample_image
from torch import Tensor

TURNS = [(mirror, k) for mirror in (False, True) for k in range(4)]


def turned(x: Tensor, mirror: bool, quarters: int) -> Tensor:
    return torch.rot90(x.flip(-1) if mirror else x, quarters, (-2, -1))


def as_floats(x: Tensor) -> Tensor:
    return x.float() / 127.5 - 1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_pictures(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, *shape), generator=generator(seed), dtype=torch.uint8)


def gauge_of(images: Tensor, flip: bool = False, rotate: bool = False) -> CopyGauge:
    return CopyGauge(PictureSet.of_tensor(images), flip=flip, rotate=rotate)


@pytest.fixture(scope="module")
def shuffled_digits() -> Tensor:
    images = digits()[0]
    return images[torch.randperm(len(images), generator=generator())]


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """A temple below a plain sky, (3, 143, 214)."""
    return torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)[:, ::3, ::3].contiguous()


def test_pictures_that_were_held_out_do_not_count_as_copies(shuffled_digits):
    gauge = gauge_of(shuffled_digits[:200])
    held_out = shuffled_digits[200:]
    copying = gauge.measure(held_out)
    assert copying.ratio == pytest.approx(1, abs=0.1)
    assert copying.copies <= 0.01 * len(held_out)
    assert not any(gauge.measure(few).is_copying for few in held_out[: 16 * 40].split(16))
    assert str(copying).startswith("The model does not copy training pictures: ")


def test_training_pictures_with_a_little_noise_count_as_copies(shuffled_digits):
    training = shuffled_digits[:200]
    noise = 0.05 * torch.randn(16, 1, 16, 16, generator=generator())
    copying = gauge_of(training).measure(training[:16] + noise)
    assert copying.copies == 16
    assert copying.ratio is not None
    assert copying.ratio < 0.5
    assert copying.is_copying
    assert str(copying).startswith("The model copies training pictures: 16 of 16 samples")


def test_one_copy_of_16_may_be_an_accident_and_two_are_not(shuffled_digits):
    gauge = gauge_of(shuffled_digits[:200])
    samples = shuffled_digits[200:216].clone()
    for copies in (1, 2):
        samples[copies - 1] = shuffled_digits[copies]
        copying = gauge.measure(samples)
        assert copying.copies == copies
        assert copying.is_copying == (copies == 2)


def test_an_exact_copy_has_no_distance_and_is_found_among_all_pictures():
    images = noise_pictures(700, 3, 24, 40)
    order = torch.randperm(700, generator=generator())[:20]
    copying = gauge_of(images).measure(as_floats(images[order]))
    assert copying.ratio == pytest.approx(0, abs=1e-4)
    assert torch.equal(copying.nearest, images[order])


@pytest.mark.parametrize(
    ("flip", "rotate"), [(False, False), (True, False), (False, True), (True, True)]
)
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_a_turned_picture_is_a_copy_only_if_the_training_turns_pictures(
    flip, rotate, mirror, quarters
):
    images = noise_pictures(9, 3, 20, 20)
    samples = turned(images[2:5], mirror, quarters)
    copying = gauge_of(images, flip, rotate).measure(as_floats(samples))
    is_reached = (not mirror or flip) and (not quarters or rotate)
    assert (copying.copies == 3) == is_reached
    assert torch.equal(copying.nearest, samples) == is_reached


def test_pictures_that_are_not_square_are_turned_by_half_turns():
    images = noise_pictures(9, 1, 20, 28)
    samples = images[2:5].rot90(2, (-2, -1))
    copying = gauge_of(images, rotate=True).measure(as_floats(samples))
    assert torch.equal(copying.nearest, samples)


def test_distances_are_those_of_a_plain_computation(shuffled_digits):
    training, samples = shuffled_digits[:100], shuffled_digits[100:130]
    matches = Search(PictureSet.of_tensor(training), flip=True, rotate=True).nearest(samples)
    for sample, match in zip(samples, matches, strict=True):
        all_turns = torch.stack([turned(sample, *turn) for turn in TURNS])
        plain = (all_turns[:, None] - training).square().mean((2, 3, 4)).sqrt()
        assert match.distance == pytest.approx(float(plain.min()), rel=1e-5)


def test_pictures_that_occur_twice_do_not_hide_copies(shuffled_digits):
    training = torch.cat([shuffled_digits[:150]] * 2)
    gauge = gauge_of(training)
    assert not gauge.measure(shuffled_digits[200:300]).is_copying
    noise = 0.05 * torch.randn(16, 1, 16, 16, generator=generator())
    assert gauge.measure(training[:16] + noise).copies == 16


@pytest.mark.parametrize("n", [1, 3])
def test_with_a_single_picture_the_gauge_says_that_it_cannot_measure(n):
    images = noise_pictures(1, 3, 16, 16).repeat(n, 1, 1, 1)
    copying = gauge_of(images).measure(as_floats(images))
    assert copying.ratio is None
    assert not copying.is_copying
    assert "cannot be measured" in str(copying)
    assert torch.equal(copying.nearest, images)


# Random crops


def crops_of(picture: Tensor, n: int, size: int = 32, seed: int = 0) -> Tensor:
    return PictureSet([picture], (size, size), "random").take([0] * n, generator(seed))


def crop_gauge(*pictures: Tensor, size: int = 32, turns: bool = False) -> CopyGauge:
    return CopyGauge(PictureSet([*pictures], (size, size), "random"), flip=turns, rotate=turns)


@pytest.mark.parametrize("size", [8, 40, 64])
def test_a_crop_at_any_position_of_any_picture_is_found_exactly(photograph, size):
    other = noise_pictures(1, 3, 70, 90)[0]
    gauge = crop_gauge(other, photograph, size=size, turns=True)
    samples = torch.cat([crops_of(photograph, 12, size), crops_of(other, 4, size)])
    samples = torch.cat(
        [turned(crop, *turn) for crop, turn in zip(samples.split(1), TURNS * 2, strict=True)]
    )
    copying = gauge.measure(as_floats(samples))
    assert torch.equal(copying.nearest, samples)
    assert copying.ratio == pytest.approx(0, abs=1e-4)
    assert copying.is_copying


@pytest.mark.parametrize("size", [16, 32, 64])
def test_crops_of_a_part_that_the_model_never_saw_do_not_count_as_copies(photograph, size):
    """Half of them are plain sky, which is close to any other plain sky."""
    left, right = photograph[:, :, :130].contiguous(), photograph[:, :, 130:].contiguous()
    copying = crop_gauge(left, size=size, turns=True).measure(as_floats(crops_of(right, 64, size)))
    assert copying.ratio is not None
    assert copying.ratio > 0.75
    assert copying.copies <= 4
    assert not copying.is_copying


def test_crops_with_a_little_noise_count_as_copies(photograph):
    crops = as_floats(crops_of(photograph, 16))
    noise = 0.05 * torch.randn(crops.shape, generator=generator())
    copying = crop_gauge(photograph, turns=True).measure(crops + noise)
    assert copying.is_copying


def test_a_new_crop_is_not_compared_with_those_that_overlap_it(photograph):
    search = Search(PictureSet([photograph], (32, 32), "random"), flip=False, rotate=False)
    places = [(0, 60, 100), (0, 111, 182)]
    images = torch.stack([as_floats(search.crop(place)) for place in places])
    for match, (_, top, left) in zip(search.nearest(images, places), places, strict=True):
        _, y, x = match.place
        shared = max(0, 32 - abs(y - top)) * max(0, 32 - abs(x - left))
        assert shared <= 0.3 * 32 * 32
        assert match.distance > 0.02
    assert all(match.distance < 1e-6 for match in search.nearest(images))


def test_a_picture_of_the_size_of_its_crop_cannot_be_judged():
    picture = noise_pictures(1, 3, 32, 32)
    copying = crop_gauge(picture[0]).measure(as_floats(picture))
    assert copying.ratio is None
    assert torch.equal(copying.nearest, picture)


def test_a_search_that_is_too_large_is_coarser_and_finds_the_copies_still(photograph, monkeypatch):
    monkeypatch.setattr("comfyui_unconditional.training.nearest._WORK", 10**8)
    samples = crops_of(photograph, 16, 64)
    copying = crop_gauge(photograph, size=64).measure(as_floats(samples))
    assert torch.equal(copying.nearest, samples)


@pytest.mark.parametrize("crop", ["centre", "random"])
def test_the_gauge_needs_little_memory_for_many_or_large_pictures(crop):
    if crop == "centre":
        gauge = gauge_of(noise_pictures(3000, 3, 32, 32), flip=True)
    else:
        gauge = crop_gauge(noise_pictures(1, 3, 600, 500)[0], size=64)
    samples = as_floats(noise_pictures(16, 3, *gauge.pictures.size))
    assert peak_bytes(lambda: gauge.measure(samples)) < 64e6
