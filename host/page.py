"""What a node tells our scripts in the editor's page."""

import json
from typing import Any

Ui = dict[str, list[str]]
"""What a node gives the editor."""


def for_page(name: str, content: dict[str, Any]) -> Ui:
    """Return ``content`` under a name of ours, as JSON text.

    As an object the host would take it for a file: it counts the objects among a run's results, and
    the editor shows that number on the run's pictures.
    """
    return {name: [json.dumps(content)]}
