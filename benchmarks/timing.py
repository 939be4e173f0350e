"""Time calls in alternation, because a machine's speed changes from one second to the next."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm


@dataclass(frozen=True)
class Times:
    """Seconds of each round, in the order of the rounds."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def against(self, other: "Times") -> "Ratio":
        """Compare round by round."""
        pairs = zip(self.seconds, other.seconds, strict=True)
        return Ratio(sorted(one / two for one, two in pairs))


@dataclass(frozen=True)
class Ratio:
    """Ratios of rounds, in ascending order."""

    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The lower quartile."""
        return self.values[len(self.values) // 4]

    @property
    def high(self) -> float:
        """The upper quartile."""
        return self.values[-1 - len(self.values) // 4]

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.2f} to {self.high:.2f})"


def take_turns(
    calls: dict[str, Callable[[], object]],
    *,
    name: str,
    seconds: float,
    least: int = 3,
    warm: bool = False,
) -> dict[str, Times]:
    """Time each call once per round, every other round in reverse order.

    Args:
        calls: name -> what is timed.
        name: for the progress bar.
        seconds: after which no round starts, if there were ``least`` rounds.
        least: the minimum number of rounds.
        warm: whether all have run already; otherwise a first round is not counted.
    """
    found: dict[str, list[float]] = {key: [] for key in calls}
    start = time.perf_counter()
    with tqdm(desc=name, unit="round", leave=False) as bar:
        for call in () if warm else calls.values():
            call()
        rounds = 0
        while rounds < least or time.perf_counter() - start < seconds:
            order = list(calls) if rounds % 2 else list(calls)[::-1]
            for key in order:
                found[key].append(_clock(calls[key]))
            rounds += 1
            bar.update()
    return {key: Times(values) for key, values in found.items()}


def _clock(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
