"""What a training has done so far, and whether its loss jumps."""

import statistics
from dataclasses import dataclass, field

# A jump of the loss: the mean of the last few steps, compared with a factor times the median and
# with the maximum of the steps before.
_RECENT, _USUAL, _JUMP = 8, 100, 4.0


@dataclass
class Progress:
    """What a run has done so far; saved with its state."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Of each step."""
    saved: list[int] = field(default_factory=list)
    """The steps after which the state was saved."""
    retries: list[int] = field(default_factory=list)
    """The steps at which the run went back and halved its learning rate."""
    pictures: list[tuple[int, int, str]] = field(default_factory=list)
    """From which step it was trained on how many pictures, and their sha256."""
    seconds: float = 0.0
    """How long the steps took, in all sessions together."""

    @property
    def is_suspicious(self) -> bool:
        """Whether the last step's loss is unusually high."""
        return self._exceeds(self.losses[-1:])

    @property
    def has_jumped(self) -> bool:
        """Whether the last steps' losses are unusually high."""
        return len(self.losses) >= _RECENT and self._exceeds(self.losses[-_RECENT:])

    def _exceeds(self, recent: list[float]) -> bool:
        # Other pictures may have a different loss.
        same = self.losses[self.pictures[-1][0] :] if self.pictures else self.losses
        before = same[-_RECENT - _USUAL : -_RECENT]
        if len(before) < _USUAL:
            return False
        # With few pictures per step, some losses are always far above the others.
        return statistics.fmean(recent) > max(_JUMP * statistics.median(before), *before)
