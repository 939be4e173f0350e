"""A line of progress on a terminal, or an occasional line in a log."""

import sys
import time
from collections import deque
from typing import TextIO

_WINDOW = 30.0
"""Seconds over which the speed is measured."""


class Progress:
    """Shows how many of ``total`` pictures are done, the speed, and the time left."""

    def __init__(self, total: int, done: int, stream: TextIO = sys.stderr):
        self._total, self._done, self._stream = total, done, stream
        self._on_terminal = stream.isatty()
        self._pause = 0.5 if self._on_terminal else 10.0
        self._shown = time.monotonic()
        self._points = deque([(self._shown, done)])

    def add(self, pictures: int) -> None:
        """Count pictures, and show the line if it is due."""
        self._done += pictures
        now = time.monotonic()
        self._points.append((now, self._done))
        while len(self._points) > 2 and now - self._points[0][0] > _WINDOW:
            self._points.popleft()
        if now - self._shown >= self._pause:
            self._shown = now
            self._show()

    def close(self) -> None:
        """Show the last line."""
        self._show()
        if self._on_terminal:
            self._stream.write("\n")

    def _show(self) -> None:
        (before, first), (now, last) = self._points[0], self._points[-1]
        text = f"{self._done:,} of {self._total:,} images"
        if last > first and now > before:
            speed = (last - first) / (now - before)
            left = (self._total - self._done) / speed
            text += f", {speed:.3g} images/s, {duration(left)} left"
        if self._on_terminal:
            self._stream.write(f"\r{text:<70}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Return for example ``3 h 20 min``, ``12 min`` or ``40 s``."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
