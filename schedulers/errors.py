"""Errors about noise schedules and sampler settings, and printable messages."""

from collections.abc import Iterable


def printable(text: str) -> str:
    """Escape characters that cannot be encoded, for example undecodable bytes of a path.

    In an error message they would stop the host's queue, because its log cannot write them.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def printable_cause(error: Exception) -> Exception | None:
    """Return an error as the cause of another, None if its own message is not printable."""
    return error if printable(str(error)) == str(error) else None


class UserError(ValueError):
    """An error whose message quotes user input or data from disk, made printable."""

    def __init__(self, message: str):
        super().__init__(printable(message))


class ScheduleError(UserError):
    """A scheduler option or a sampler setting cannot be used; the message says what to change."""


def check_choice(name: str, value: str, options: Iterable[str]) -> None:
    """Raise ``ScheduleError`` unless ``value`` is one of ``options``.

    Older hosts do not validate a choice against their own list.
    """
    options = tuple(options)
    if value not in options:
        raise ScheduleError(f"{name} must be one of {', '.join(options)}, not {value!r}.")
