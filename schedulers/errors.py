"""What can be wrong with a noise schedule, or with what is asked of one."""

from collections.abc import Iterable


def printable(text: str) -> str:
    """Return a text with escapes for what no encoding has, such as undecodable bytes of a path.

    Such text in an error message stops the host's queue: its log cannot write it.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def printable_cause(error: Exception) -> Exception | None:
    """Return an error as the cause of another, None where its own message cannot be printed."""
    return error if printable(str(error)) == str(error) else None


class UserError(ValueError):
    """An error whose message quotes what a user typed or what is on a disk; it is printable."""

    def __init__(self, message: str):
        super().__init__(printable(message))


class ScheduleError(UserError):
    """A scheduler option or a sampler setting cannot be used; the message says what to change."""


def check_choice(name: str, value: str, options: Iterable[str]) -> None:
    """Raise ``ScheduleError`` unless ``value`` is one of ``options``.

    Older hosts do not compare a choice with the list that they offer.
    """
    options = tuple(options)
    if value not in options:
        raise ScheduleError(f"{name} is {value!r}; it can be {', '.join(options)}.")
