"""Checks of the options of a process, as they stand in a ``scheduler_config.json``."""

from collections.abc import Collection, Iterable, Mapping
from typing import cast

from .errors import ScheduleError

# Python's JSON parser accepts infinity and integers too large for any float.
LARGEST = 1e15
NUMBER = cast(type, (int, float))
Ranges = Mapping[str, tuple[type, float, float]]
"""By option: int or NUMBER, the smallest and the largest value."""


def check_numbers(options: object, ranges: Ranges) -> None:
    """Raise ``ScheduleError`` unless each option is a number of its kind and in its range."""
    for name, (kind, low, high) in ranges.items():
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            wanted = "whole number" if kind is int else "number"
            limits = f"{low} to {high}" if kind is int else f"{low:g} to {high:g}"
            raise ScheduleError(
                f"The scheduler option '{name}' must be a {wanted} from {limits}, not "
                f"{value!r:.100}."
            )


def check_switches(options: object, names: Iterable[str]) -> None:
    """Raise ``ScheduleError`` unless each of these options is true or false."""
    for name in names:
        value = getattr(options, name)
        if not isinstance(value, bool):
            raise ScheduleError(
                f"The scheduler option '{name}' must be true or false, not {value!r:.100}."
            )


def unknown_fields(given: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Return a warning that names the fields that are not known, if there are any."""
    unknown = sorted(name for name in given if name not in known and not name.startswith("_"))
    if not unknown:
        return ()
    listed = ", ".join(ascii(name)[:60] for name in unknown[:5])
    return (
        "The scheduler configuration has unknown fields, which were ignored: "
        f"{listed}{', ...' if len(unknown) > 5 else ''}.",
    )
