"""`python dev.py locales`: the English words of the nodes, as the nodes themselves say them.

The schemas are the source of `locales/en/nodeDefs.json`, and that file is what a translator begins
with: `locales/<language>/nodeDefs.json` has the same keys. The editor looks up display_name,
description, inputs.<name>.name and .tooltip, outputs.<index>.name and .tooltip in it;
inputs.<name>.options are looked up by `web/option_labels.js`.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from .client import Client
from .comfyui import HostError
from .environment import ROOT
from .host import Host

LOCALES = ROOT / "locales"
ENGLISH = LOCALES / "en" / "nodeDefs.json"

# Lists of the user's own files: their names are nobody's to translate.
_NAMES_OF_FILES = {("UnconditionalUNetLoader", "model_name")}


def write_english() -> int:
    """Ask a host for the nodes, write the file, and return the exit status."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            print("Starting ComfyUI", flush=True)
            with Host(Path(folder)) as host:
                client = Client(host.url)
                object_info = client.get("/object_info")
                client.close()
    except HostError as error:
        print(f"\nThe words could not be read: {error}", file=sys.stderr)
        return 1
    ENGLISH.parent.mkdir(parents=True, exist_ok=True)
    ENGLISH.write_text(as_json(node_definitions(object_info)), encoding="utf-8")
    print(f"Wrote {ENGLISH.relative_to(ROOT)}")
    return 0


def as_json(content: dict[str, Any]) -> str:
    """Return the text of a locale file, readable in any language."""
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def node_definitions(object_info: dict[str, Any]) -> dict[str, Any]:
    """Return the words of our nodes in ``object_info`` (the host's), in the order of the nodes."""
    return {
        name: _definition(info)
        for name, info in object_info.items()
        if name.startswith("Unconditional")
    }


def _definition(info: dict[str, Any]) -> dict[str, Any]:
    declared = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    definition = {
        "display_name": info["display_name"],
        "description": info["description"],
        "inputs": {key: _input(info["name"], key, spec) for key, spec in declared.items()},
        "outputs": {
            str(index): _output(*words)
            for index, words in enumerate(
                zip(info["output"], info["output_name"], info["output_tooltips"], strict=True)
            )
        },
    }
    return {key: value for key, value in definition.items() if value}


def _input(node: str, name: str, spec: list[Any]) -> dict[str, Any]:
    kind, details = spec[0], spec[1] if len(spec) > 1 else {}
    words: dict[str, Any] = {
        "name": details.get("display_name") or name,
        "tooltip": details.get("tooltip") or "",
    }
    options = kind if isinstance(kind, list) else details.get("options", [])
    if options and (node, name) not in _NAMES_OF_FILES:
        words["options"] = {option: option for option in options}
    return words


def _output(kind: str, name: str, tooltip: str | None) -> dict[str, str]:
    """An output that is named as its type has no name of its own: the editor names the type."""
    words = {} if name == kind else {"name": name}
    return {**words, "tooltip": tooltip or ""}
