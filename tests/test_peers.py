"""What the speed benchmark times: peers that give the same images."""

import pytest
import torch

from benchmarks.peers import largest_difference, make_peers, our_sampler, sample_ours, sample_theirs


@pytest.mark.parametrize("sampler", ["F-PNDM", "DDIM", "DDPM"])
def test_the_peers_that_are_timed_give_the_same(sampler: str) -> None:
    peers = make_peers("digits-16", torch.device("cpu"))
    run = our_sampler(sampler, peers.scheduler, 4)
    ours = sample_ours(peers.ours, peers.shape, run, [0, 1])
    theirs = sample_theirs(peers, sampler, [0, 1], run.evaluations)
    assert largest_difference(ours, theirs) < 1e-4
