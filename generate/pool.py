"""Gives blocks to workers: each worker pulls its next block when it has finished one."""

import logging
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..schedulers.errors import UserError
from .seeds import Block
from .worker import Drawn

logger = logging.getLogger(__name__)

_TRIES = 3


@dataclass(frozen=True)
class Report:
    """A worker's report: that it is ready, the result of its block, or why it ended.

    Attributes:
        worker: its number. One that ended is replaced, and the new one reports when it is ready.
        drawn: None if it is only ready, or ended.
        error: why it ended.
        stops: whether every other block would fail with this error too.
    """

    worker: int
    drawn: Drawn | None = None
    error: str | None = None
    stops: bool = False


class Pool(Protocol):
    """Workers, wherever they run."""

    def give(self, worker: int, block: Block) -> None:
        """Give a block to a worker that is ready or has drawn one."""

    def reports(self) -> Sequence[Report]:
        """Wait until workers report, and return what they say."""
        ...

    def close(self) -> None:
        """Stop the workers."""


def draw_blocks(blocks: Iterable[Block], pool: Pool) -> Iterator[Drawn]:
    """Yield the result of each block, in the order in which they are finished.

    A block whose worker ended is assigned again after the others, up to three times in total; then
    its seeds count as failed.

    Raises:
        UserError: a worker reports an error that all blocks would have; or workers ended three
            times, with different blocks or none, and nothing was drawn in between.
    """
    waiting, again = iter(blocks), deque[Block]()
    in_hand: dict[int, Block] = {}
    idle = deque[int]()
    tries = Counter[Block]()
    in_a_row: list[Block | None] = []

    def following() -> Block | None:
        return next(waiting, None) or (again.popleft() if again else None)

    block = following()
    while block is not None or in_hand:
        while block is not None and idle:
            worker = idle.popleft()
            in_hand[worker] = block
            pool.give(worker, block)
            block = following()
        for report in pool.reports():
            own = in_hand.pop(report.worker, None)
            if report.error is None:
                idle.append(report.worker)
                if report.drawn is not None:
                    in_a_row.clear()
                    yield report.drawn
                continue
            if own is None or own not in in_a_row:
                in_a_row.append(own)
            if report.stops or len(in_a_row) >= _TRIES:
                raise UserError(report.error)
            if own is None:
                logger.warning("A worker ended and was replaced: %s", report.error)
                continue
            logger.warning("A block is drawn again: %s", report.error)
            tries[own] += 1
            if tries[own] < _TRIES:
                again.append(own)
            else:
                yield Drawn((), dict.fromkeys(own.wanted, report.error))
        block = block or following()
