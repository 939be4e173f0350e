"""What can be wrong with a noise schedule, or with what is asked of one."""

from collections.abc import Iterable


class ScheduleError(ValueError):
    """A scheduler option or a sampler setting cannot be used; the message says what to change."""


def check_choice(name: str, value: str, options: Iterable[str]) -> None:
    """Raise ``ScheduleError`` unless ``value`` is one of ``options``.

    Older hosts do not compare a choice with the list that they offer.
    """
    options = tuple(options)
    if value not in options:
        raise ScheduleError(f"{name} is {value!r}; it can be {', '.join(options)}.")
