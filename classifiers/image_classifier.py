"""Our own classifier: a few convolutions, which `training classifier` trains on your pictures."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoints.new_files import unfinished
from ..networks.errors import ConfigError
from .base import Classifier

_LAST_SIDE = 4
"""Side in pixels of the features before the last layer; larger ones are averaged."""
_WIDEST = 128


@dataclass(frozen=True)
class ImageClassifierConfig:
    """What to build.

    Attributes:
        channels: of the images.
        size: height and width of the images, in pixels; at least 4 each.
        names: of the classes.
        width: channels of the first layer, a multiple of 4.
    """

    channels: int
    size: tuple[int, int]
    names: tuple[str, ...]
    width: int = 16

    CLASS_NAME = "ImageClassifier"

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ImageClassifierConfig":
        """Read it from a file's metadata.

        Raises:
            ConfigError: a field is missing or wrong.
        """
        try:
            height, width = map(int, fields["size"])
            names = tuple(map(str, fields["names"]))
            config = cls(int(fields["channels"]), (height, width), names, int(fields["width"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"The classifier's configuration is incomplete ({error!r:.100}). Train it again "
                "with `python -m comfyui_unconditional.training classifier`."
            ) from error
        sizes = (config.channels, len(names), min(height, width) - _LAST_SIDE + 1, config.width)
        if min(sizes) < 1 or max(*sizes, height, width) > 2**14 or config.width % 4:
            raise ConfigError(
                f"A classifier cannot have {config.channels} channels, {height} x {width} pixels, "
                f"{len(names)} classes and a width of {config.width}."
            )
        return config


class ImageClassifier(Classifier):
    """Convolutions that halve the image down to 4 to 7 pixels, and one linear layer.

    The layers are smooth (SiLU, mean pooling), so that their gradients are.
    """

    def __init__(self, config: ImageClassifierConfig, device: torch.device | str | None = None):
        super().__init__()
        self.config = config
        self.channels, self.size, self.names = config.channels, config.size, config.names
        self.classes = len(config.names)
        width, side = config.width, min(config.size)
        layers: list[nn.Module] = [nn.Conv2d(config.channels, width, 3, padding=1, device=device)]
        while side >= 2 * _LAST_SIDE:
            wider, side = min(2 * width, _WIDEST), side // 2
            layers += [
                nn.SiLU(),
                nn.Conv2d(width, wider, 3, padding=1, device=device),
                nn.GroupNorm(4, wider, device=device),
                nn.SiLU(),
                nn.AvgPool2d(2),
            ]
            width = wider
        self.layers = nn.Sequential(*layers)
        self.to_classes = nn.Linear(width * _LAST_SIDE**2, self.classes, device=device)

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        features = F.adaptive_avg_pool2d(self.layers(x), _LAST_SIDE)
        return self.to_classes(features.flatten(1))

    def save(self, path: Path) -> None:
        """Write a safetensors file with the configuration in its metadata; replaces an older one.

        Raises:
            OSError: it cannot be written.
        """
        fields = {"_class_name": self.config.CLASS_NAME, **asdict(self.config)}
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(path) as whole:
            whole.write_bytes(save(tensors, {"config": json.dumps(fields)}))
            whole.replace(path)
