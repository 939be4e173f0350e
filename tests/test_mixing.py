"""Noise between two noises and on a loop through several, without a host."""

from itertools import pairwise

import pytest
import torch
from comfyui_unconditional.schedulers.errors import ScheduleError
from comfyui_unconditional.schedulers.mixing import Loop, slerp
from torch import Tensor


def noise(seed: int) -> Tensor:
    return torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_the_ends_of_an_arc_are_the_noises_themselves():
    a, b = noise(0), noise(1)
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.equal(slerp(a, b, 1.0), b)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_between_two_noises_the_norm_is_between_theirs(part):
    a, b = noise(0), 2 * noise(1)
    expected = (1 - part) * a.norm() + part * b.norm()
    assert slerp(a, b, part).norm() == pytest.approx(expected.item(), rel=1e-6)


def test_the_way_is_the_same_in_both_directions():
    a, b = noise(0), noise(1)
    assert (slerp(a, b, 0.3) - slerp(b, a, 0.7)).abs().max() < 1e-6


def test_noise_mixed_with_itself_its_opposite_or_nothing_is_finite():
    a = noise(0)
    assert (slerp(a, a, 0.3) - a).abs().max() < 1e-6
    assert slerp(a, -a, 0.3).isfinite().all()
    assert slerp(a, torch.zeros_like(a), 0.25).norm() == pytest.approx(0.75 * a.norm().item())


@pytest.mark.parametrize("ease", ["smooth", "even"])
@pytest.mark.parametrize(("keys", "frames"), [(2, 2), (3, 7), (4, 48), (5, 121)])
def test_a_loop_closes_passes_through_each_key_and_does_not_jump(keys, frames, ease):
    loop = Loop(keys, frames, ease)
    places = [loop.place(frame) for frame in range(frames)]
    assert [key for key, _, part in places if part == 0] == list(range(keys))
    assert all(after == (key + 1) % keys for key, after, _ in places)
    assert loop.place(0) == (0, 1, 0.0)
    way = [key + part for key, _, part in places] + [keys]
    steps = [b - a for a, b in pairwise(way)]
    fastest = 1 / (frames // keys)  # of the shortest arc
    assert 0 < min(steps) <= max(steps) <= (1.5 if ease == "smooth" else 1) * fastest + 1e-9


@pytest.mark.parametrize(("keys", "frames", "words"), [(1, 9, "2 keys"), (4, 3, "at least 4 fr")])
def test_a_loop_with_too_few_keys_or_frames_is_rejected(keys, frames, words):
    with pytest.raises(ScheduleError, match=words):
        Loop(keys, frames)
