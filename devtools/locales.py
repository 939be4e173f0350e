"""`python dev.py locales`: write the English texts of the nodes from their schemas.

The schemas are the source of `locales/en/nodeDefs.json`, and translations start from that file:
`locales/<language>/nodeDefs.json` has the same keys. The editor looks up display_name, description,
inputs.<name>.name and .tooltip, outputs.<index>.name and .tooltip in it; `web/option_labels.js`
looks up inputs.<name>.options.
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

# Lists of the user's own files, whose names are not translated.
_NAMES_OF_FILES = {("UnconditionalUNetLoader", "model_name"), ("UnconditionalSteer", "classifier")}


def write_english() -> int:
    """Get the nodes from a host, write the file, and return the exit status."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            print("Starting ComfyUI", flush=True)
            with Host(Path(folder)) as host:
                client = Client(host.url)
                object_info = client.get("/object_info")
                client.close()
    except HostError as error:
        print(f"\nThe nodes could not be read: {error}", file=sys.stderr)
        return 1
    ENGLISH.parent.mkdir(parents=True, exist_ok=True)
    ENGLISH.write_text(as_json(node_definitions(object_info)), encoding="utf-8")
    print(f"Wrote {ENGLISH.relative_to(ROOT)}")
    return 0


def as_json(content: dict[str, Any]) -> str:
    """Return the text of a locale file, readable in any language."""
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def node_definitions(object_info: dict[str, Any]) -> dict[str, Any]:
    """Return the texts of our nodes from the host's ``object_info``, in its order."""
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
    """Return an output's texts. If its name is its type's, the editor translates the type."""
    words = {} if name == kind else {"name": name}
    return {**words, "tooltip": tooltip or ""}
