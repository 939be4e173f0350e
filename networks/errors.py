"""Errors about a model on disk. Every message says what was found and what to do."""

from ..schedulers.errors import UserError, printable


class CheckpointError(UserError):
    """A model folder, or a file in it, cannot be loaded."""


class ConfigError(CheckpointError):
    """A configuration is unreadable, contradictory, or asks for something unsupported."""


def shown(text: str, limit: int = 200) -> str:
    """Return text from a file in a form that is safe in a message: truncated and printable."""
    return printable(text[:limit])
