"""When the frames of an animation are shown."""

from itertools import pairwise

_HOLD = 1500
"""Milliseconds for which the finished image of a trajectory stays, before it begins again."""

SLOWEST, FASTEST = 0.1, 60.0
"""Frames per second; browsers slow down what is faster."""


def check_fps(fps: float) -> None:
    """Raise ValueError unless ``fps`` is one that browsers can show."""
    if not SLOWEST <= fps <= FASTEST:  # NaN fails, too
        raise ValueError(f"fps must be from {SLOWEST} to {FASTEST:g} frames per second, not {fps}.")


def frame_durations(count: int, fps: float, *, hold_last: bool) -> list[int]:
    """Return the whole milliseconds for which each of ``count`` frames is shown.

    Their sum follows ``fps`` even where one frame is no whole number of them.

    Args:
        count: how many frames.
        fps: frames per second.
        hold_last: whether the last stays for a second and a half, or longer where fps asks.
    """
    ends = [round(1000 * k / fps) for k in range(count + 1)]
    durations = [end - start for start, end in pairwise(ends)]
    if hold_last:
        durations[-1] = max(durations[-1], _HOLD)
    return durations
