"""What can be wrong with a model on disk. Every message says what was found and what to do."""

from ..schedulers.errors import UserError, printable


class CheckpointError(UserError):
    """A model folder, or a file in it, cannot be loaded."""


class ConfigError(CheckpointError):
    """A configuration is unreadable, contradictory, or asks for something unsupported."""


def shown(text: str, most: int = 200) -> str:
    """Return a text from a file as it can stand in a message: not endless, and printable."""
    return printable(text[:most])
