"""Checks the options of a process, as written in a ``scheduler_config.json``."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, TypeVar, cast

from .errors import ScheduleError

# Python's JSON parser accepts infinity and integers too large for any float.
LARGEST = 1e15
NUMBER = cast(type, (int, float))
Options = TypeVar("Options", bound="SigmaOptions")
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
    """Return a warning that names the unknown fields, if there are any."""
    unknown = sorted(name for name in given if name not in known and not name.startswith("_"))
    if not unknown:
        return ()
    listed = ", ".join(ascii(name)[:60] for name in unknown[:5])
    return (
        "The scheduler configuration has unknown fields, which were ignored: "
        f"{listed}{', ...' if len(unknown) > 5 else ''}.",
    )


class SigmaOptions:
    """The base of a dataclass with the options of a process of noise levels (sigmas).

    Its fields are named as in a ``scheduler_config.json``, and include ``sigma_min`` and
    ``sigma_max``.
    """

    CLASS_NAME: ClassVar[str]
    RANGES: ClassVar[Ranges]
    SWITCHES: ClassVar[tuple[str, ...]] = ()
    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset()
    timestep_scale: ClassVar[float] = 1.0

    @classmethod
    def from_dict(cls: type[Options], given: dict[str, Any]) -> Options:
        """Parse the contents of a ``scheduler_config.json``; null means the default.

        Raises:
            ScheduleError: a field has a wrong type or an invalid value. The message names it.
        """
        kind: Any = cls  # a dataclass
        known = {f.name for f in fields(kind)} - {"warnings"}
        options = {name: value for name, value in given.items() if value is not None}
        values: dict[str, Any] = {n: value for n, value in options.items() if n in known}
        values["warnings"] = unknown_fields(options, {*known, *cls.WITHOUT_EFFECT})
        config = kind(**values)
        check_numbers(config, cls.RANGES)
        check_switches(config, cls.SWITCHES)
        if config.sigma_min >= config.sigma_max:
            raise ScheduleError(
                f"The scheduler option 'sigma_min' ({config.sigma_min:g}) must be below "
                f"'sigma_max' ({config.sigma_max:g})."
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of a ``scheduler_config.json``."""
        names = [f.name for f in fields(cast(Any, self)) if f.name != "warnings"]
        return {"_class_name": self.CLASS_NAME, **{name: getattr(self, name) for name in names}}
