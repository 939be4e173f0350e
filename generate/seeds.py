"""Ranges of seeds, and the blocks that they are drawn in."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from ..schedulers.errors import UserError
from ..schedulers.randomness import SEEDS


@dataclass(frozen=True)
class Seeds:
    """Seeds in ascending order, as ranges that do not touch."""

    ranges: tuple[range, ...]

    @classmethod
    def parse(cls, text: str) -> "Seeds":
        """Parse for example ``0-49999`` or ``0-99, 500``; both ends belong to a range.

        Raises:
            UserError: it is not a list of seeds and ranges.
        """
        found = []
        for part in text.split(","):
            match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if not first <= last < SEEDS:
                raise UserError(
                    f"{part.strip()!r} is not a seed or a range of seeds. Enter for example "
                    f"0-49999, or 0-99,500; the last seed is {SEEDS - 1}."
                )
            found.append(range(first, last + 1))
        return cls(tuple(_joined(found)))

    @classmethod
    def of(cls, first: int, count: int) -> "Seeds":
        """Return ``count`` seeds, starting at ``first``."""
        return cls((range(first, first + count),))

    def __iter__(self) -> Iterator[int]:
        for part in self.ranges:
            yield from part

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    def __str__(self) -> str:
        return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in self.ranges)


def _joined(ranges: Iterable[range]) -> Iterator[range]:
    current = range(0)
    for part in sorted(ranges, key=lambda r: r.start):
        if current and part.start <= current.stop:
            current = range(current.start, max(current.stop, part.stop))
        else:
            if current:
                yield current
            current = part
    yield current


@dataclass(frozen=True)
class Block:
    """The seeds of one batch of the network, on any worker, and those of them to keep.

    The bits of an image depend on the other images in its batch, so a batch is always drawn whole.
    Blocks are aligned: block k has the seeds k * size to (k + 1) * size - 1.
    """

    seeds: range
    wanted: tuple[int, ...]


def blocks_of(wanted: Iterable[int], size: int) -> Iterator[Block]:
    """Yield the blocks that contain the wanted seeds, which are in ascending order."""
    for k, seeds in groupby(wanted, key=lambda seed: seed // size):
        yield Block(range(k * size, min((k + 1) * size, SEEDS)), tuple(seeds))
