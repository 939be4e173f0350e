"""What the speed benchmark rests on: calls that take turns, compared round by round."""

import pytest
import torch

from benchmarks.peers import largest_difference, make_peers, our_sampler, sample_ours, sample_theirs
from benchmarks.timing import Times, take_turns


def test_calls_take_turns_and_change_their_order_every_round() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    times = take_turns(calls, name="", seconds=0, least=3, warm=True)
    assert "".join(order) == "baabba"
    assert [len(values.seconds) for values in times.values()] == [3, 3]


def test_a_ratio_is_taken_within_each_round() -> None:
    # The machine is ten times slower in the last round, for both.
    ratio = Times([1.0, 2.0, 30.0]).against(Times([2.0, 4.0, 60.0]))
    assert (ratio.low, ratio.median, ratio.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("sampler", ["F-PNDM", "DDIM", "DDPM"])
def test_the_peers_that_are_timed_give_the_same(sampler: str) -> None:
    peers = make_peers("digits-16", torch.device("cpu"))
    run = our_sampler(sampler, peers.scheduler, 4)
    ours = sample_ours(peers.ours, peers.shape, run, [0, 1])
    theirs = sample_theirs(peers, sampler, [0, 1], run.evaluations)
    assert largest_difference(ours, theirs) < 1e-4
