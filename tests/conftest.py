"""What all tests share: the oracle made importable, and the table of parity figures."""

from collections import defaultdict
from collections.abc import Callable

import pytest
import torch

from devtools.torchvision_on_cpu import declare_missing_operators

declare_missing_operators()
# The tensors here are tiny: threads cost more than they give.
torch.set_num_threads(1)

_figures: dict[str, list[tuple[float, float]]] = defaultdict(list)


@pytest.fixture
def figure() -> Callable[[str, float, float], None]:
    """Assert that a difference is within its bound, and keep it for the table at the end."""

    def check(name: str, difference: float, bound: float) -> None:
        _figures[name].append((difference, bound))
        assert difference <= bound, f"{name}: {difference:.3g} is more than {bound:.3g}"

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the largest difference for each name."""
    if not _figures:
        return
    terminalreporter.section("largest differences")
    for name, entries in sorted(_figures.items()):
        largest = max(difference for difference, _ in entries)
        bound = max(bound for _, bound in entries)
        terminalreporter.write_line(
            f"{name:<44} {largest:9.2e}   (bound {bound:.0e}, {len(entries)} comparisons)"
        )
