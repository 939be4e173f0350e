"""Data from a node to our scripts in the editor's page."""

import json
from typing import Any

Ui = dict[str, list[str]]
"""The ``ui`` output of a node."""


def for_page(name: str, content: dict[str, Any]) -> Ui:
    """Return ``content`` under ``name``, as JSON text.

    As an object, the host would treat it as a file: it counts the objects among a run's results,
    and the editor shows that number on the run's pictures.
    """
    return {name: [json.dumps(content)]}
