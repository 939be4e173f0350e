"""How a MODEL covers its images: tiled or in windows. Stored in its ``transformer_options``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..networks.edges import Directions
from ..networks.windows import Cover, Windows
from ..pictures.provenance import Record


@dataclass(frozen=True)
class Canvas:
    """The settings of Seamless Tiling and Windows for a MODEL."""

    KEY: ClassVar[str] = "unconditional_canvas"

    seamless: Directions = "none"
    """The directions in which images tile."""
    windows: Windows | None = None
    """None: each image is evaluated as a whole."""

    @classmethod
    def of(cls, transformer_options: Mapping[str, Any]) -> "Canvas":
        """Return the canvas of a MODEL, from its ``transformer_options``."""
        return transformer_options.get(cls.KEY) or cls()

    def cover(self, height: int, width: int) -> Cover:
        """Return the windows of an image."""
        return Cover(height, width, self.windows, self.seamless)

    @property
    def record(self) -> Record:
        """What a picture's record says about it."""
        record: Record = {} if self.seamless == "none" else {"seamless": self.seamless}
        if (w := self.windows) is not None:
            of_windows = {"height": w.height, "width": w.width, "overlap": w.overlap}
            record["windows"] = {**of_windows, "wrap": w.wrap}
        return record
