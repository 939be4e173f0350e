"""Test nodes that change a model's file after it was loaded."""

import os
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from .node import node

KINDS = ["touched", "appended to", "overwritten", "cut short", "replaced", "removed"]


@node(
    io.Model.Output(),
    inputs=(
        io.Model.Input("model"),
        io.String.Input("path"),
        io.Combo.Input("kind", options=KINDS),
    ),
)
def changed_file(model: Any, path: str, kind: str) -> io.NodeOutput:
    """The MODEL, with its file changed in between."""

    file = Path(path)
    assert model.model.source.sha256  # which is computed in the background
    size = file.stat().st_size
    match kind:
        case "touched":
            os.utime(file, ns=(0, 0))
        case "appended to":
            with file.open("ab") as opened:
                opened.write(b"more")
        case "overwritten":  # the header stays, and every number becomes another
            with file.open("r+b") as opened:
                opened.seek(8 + int.from_bytes(opened.read(8), "little"))
                opened.write(b"\x3c" * (size - opened.tell()))
        case "cut short":
            os.truncate(file, 100)
        case "replaced":
            new = file.with_suffix(".new")
            new.write_bytes(b"another")
            new.replace(file)
        case _:
            file.unlink()
    return io.NodeOutput(model)
