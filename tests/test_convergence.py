"""The order of each method, on data with a known answer."""

import pytest

from benchmarks.quality.convergence import SMOOTH_END, measure, order


@pytest.fixture(scope="module")
def errors() -> dict[str, tuple[float, ...]]:
    return measure(SMOOTH_END)


@pytest.mark.parametrize(
    ("method", "least", "most"),
    [
        ("DDIM", 0.9, 1.1),
        ("S-PNDM", 1.9, 3),
        ("F-PNDM", 1.85, 5),
        ("PLMS", 1.85, 5),
        ("iPNDM_v", 1.9, 5),
        ("FON", 3.5, 5),
    ],
)
def test_each_method_converges_with_the_order_that_theory_gives_it(method, least, most, errors):
    assert least <= order(errors[method]) <= most


@pytest.mark.parametrize("method", ["S-PNDM", "F-PNDM", "PLMS", "iPNDM_v"])
def test_the_orders_are_the_same_with_steps_that_become_shorter(method):
    assert order(measure(SMOOTH_END, power=1.9)[method]) >= 1.9
