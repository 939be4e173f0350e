"""The parts of a batch."""

import pytest
import torch
from comfyui_unconditional.networks.batch_parts import equal_part, equal_parts, joined


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 16, 100])
def test_equal_parts_cover_every_count_within_the_limit_and_give_each_result_once(limit):
    for count in range(1, 70):
        size = equal_part(count, limit)
        parts = equal_parts(count, size)
        x = torch.arange(count)
        assert {part.stop - part.start for part in parts} == {size}
        assert max(part.stop for part in parts) == count
        assert size <= max(1, limit)
        assert torch.equal(joined([x[part] for part in parts], count), x)
        assert len(parts) * size - count < len(parts)  # nearly everything is computed once


@pytest.mark.parametrize(
    ("count", "limit", "size"), [(64, 20, 16), (63, 16, 9), (17, 16, 9), (3, 2, 1)]
)
def test_of_the_parts_that_overlap_least_the_largest_are_taken(count, limit, size):
    assert equal_part(count, limit) == size
