"""Describes for the user how two records of settings differ."""

from collections.abc import Iterator
from typing import Any


def differences(saved: dict[str, Any], own: dict[str, Any]) -> Iterator[str]:
    """Yield a clause for each setting that differs between two objects read from JSON."""
    for name in sorted(saved.keys() | own.keys()):
        before, now = saved.get(name), own.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from differences(before, now)
        elif before != now:
            yield f"{name} was {before} and is now {now}"
