"""Which steps of a list of timesteps run."""

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import ScheduleError
from .timesteps import END, end_of_list


@dataclass(frozen=True)
class Span:
    """The steps that run: from each of ``timesteps`` to the next, and from the last to ``end``.

    Attributes:
        timesteps: from noise to data; descending, except the entries of ``Consistency``.
        end: END (the data), or a timestep if noise is left over.
        skipped: how many steps of the whole list come before the first of these.
    """

    timesteps: tuple[int, ...]
    end: int = END
    skipped: int = 0


@dataclass(frozen=True)
class Stretch:
    """The steps of a list that run: from ``start`` up to, but not including, ``stop``.

    Attributes:
        steps: N, the length of the list.
        start, stop: 0 .. N; a ``stop`` beyond N means N.
        leftover: whether a stretch that stops early leaves the noise of that time in the image;
            otherwise its last step goes to the data.
        whole: M if the list is the end of a longer one, as for ``make_timesteps``; None if not.
    """

    steps: int
    start: int = 0
    stop: int = 2**31
    leftover: bool = False
    whole: float | None = None

    @classmethod
    def of_denoise(cls, steps: int, denoise: float, num_train_timesteps: int) -> "Stretch":
        """Return the steps of a run that begins at the time ``denoise`` * T.

        They are the last ``steps`` of a list of steps / denoise, which is what denoise means in
        ComfyUI; if fewer timesteps are left there, all of them.

        Raises:
            ScheduleError: ``denoise`` is not in 0..1.
        """
        if not 0 <= denoise <= 1:
            raise ScheduleError(f"denoise must be from 0 to 1, not {denoise}.")
        if denoise == 0:
            return cls(steps, steps)
        if denoise > 0.9999 or steps < 1:
            return cls(steps)
        count, whole = end_of_list(steps, denoise, num_train_timesteps)
        return cls(count, whole=whole)

    @property
    def is_empty(self) -> bool:
        """Whether no step runs."""
        return self.start >= min(self.stop, self.steps)

    @property
    def begins_with_image(self) -> bool:
        """Whether there are steps before the first that runs."""
        return self.start > 0 or self.whole is not None

    def of(self, timesteps: Sequence[int]) -> Span:
        """Cut this stretch, which must not be empty, out of the list."""
        part = tuple(timesteps[self.start : self.stop])
        reaches_end = self.stop >= len(timesteps) or not self.leftover
        before = 0 if self.whole is None else int(self.whole) - self.steps
        return Span(part, END if reaches_end else timesteps[self.stop], before + self.start)
