"""What saved workflows depend on, by the name that the tests import."""

from devtools.contract import NODES

__all__ = ["NODES"]
