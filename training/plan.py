"""Turns a user's choices into a training plan, for the node and for the command."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ..schedulers.config import SchedulerConfig
from ..unet.config import UNetConfig
from .network import NetworkSize, default_unet
from .options import TrainingOptions
from .picture_set import Crop, PictureSet
from .processes import Processes
from .trainer import TrainingRun, run_settings

SmallData = Literal["auto", "on", "off"]

FEW_PICTURES = 5_000
"""Below this, ``small_data`` is on if it is auto."""

# Dark and bright pictures show every error in brightness. A network that predicts the noise makes
# such errors: where there is hardly anything but noise, a small error in the noise's mean is a
# large error in the image's. So new models predict the velocity, which is the image there (Salimans
# & Ho 2022, appendix D). A sampler starts with pure noise. At the last timestep the network saw,
# with the usual beta_end of 0.02, noise around 0.0064 times the mean of the data: -0.85 for a dark
# sky. Over 64 x 64 pixels that is a third of the standard deviation of the noise's mean, and the
# samplers without fresh noise turn it into brighter skies. With 0.03 it is a fortieth
# (docs/training.md). For the same reason the list of timesteps has to start with the last one, and
# no prediction may be clipped.
SCHEDULER = SchedulerConfig(
    beta_end=0.03,
    prediction_type="v_prediction",
    clip_sample=False,
    timestep_spacing="trailing",
)
"""The noise schedule of new models."""

_SMALL_DATA = {"augment": 0.12, "dropout": 0.1}


@dataclass(frozen=True)
class Start:
    """A model to train further: its configurations, weights and name."""

    unet: UNetConfig
    scheduler: SchedulerConfig
    weights: dict[str, Tensor]
    name: str


@dataclass(frozen=True)
class Plan:
    """A run that has not started."""

    pictures: PictureSet
    unet: UNetConfig
    scheduler: SchedulerConfig
    options: TrainingOptions
    start: Start | None = None

    @classmethod
    def make(
        cls,
        pictures: PictureSet,
        options: TrainingOptions,
        *,
        network: NetworkSize | int = "small",
        small_data: SmallData = "auto",
        scheduler: SchedulerConfig = SCHEDULER,
        start: Start | None = None,
    ) -> "Plan":
        """Choose what depends on the pictures.

        Args:
            pictures: what to train on.
            options: ``augment`` and ``dropout`` are chosen here.
            network: how large a new one is; an int is the width of the first level of a large one.
            small_data: whether to train with the settings for few pictures. scheduler: of a new
                model. start: a model to train further.

        Raises:
            ConfigError, UserError: the pictures do not fit the network.
        """
        # An existing model does not know the augmentations, and would draw them at first.
        auto = start is None and len(pictures) < FEW_PICTURES
        few = small_data == "on" or (small_data == "auto" and auto)
        if few:
            options = replace(options, **_SMALL_DATA)
        if start is not None:
            unet = replace(start.unet, sample_size=_sample_size(pictures), dropout=0.0)
            return cls(pictures, unet, start.scheduler, options, start)
        unet = new_unet(pictures.size, pictures.channels, network, pictures.crop)
        return cls(pictures, unet, scheduler, options)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that must stay the same to continue a run."""
        return run_settings(
            self.pictures,
            self.unet,
            self.scheduler,
            self.options,
            "" if self.start is None else self.start.name,
        )

    def begin(self, folder: Path, processes: Processes) -> TrainingRun:
        """Start the run in a folder, or continue it; see ``TrainingRun``."""
        start = self.start
        return TrainingRun(
            self.pictures,
            folder,
            unet=self.unet,
            scheduler=self.scheduler,
            options=self.options,
            weights=None if start is None else start.weights,
            start="" if start is None else start.name,
            processes=processes,
        )


def new_unet(
    size: tuple[int, int], channels: int, network: NetworkSize | int, crop: Crop
) -> UNetConfig:
    """Return the network for pictures of this size; see ``Plan.make`` for the arguments.

    Raises:
        ValueError: the pictures do not fit it.
    """
    # Models of crops draw images of any size, which attention would prevent.
    attention = crop == "centre"
    if isinstance(network, int):
        return default_unet(size, channels, width=network, attention=attention)
    return default_unet(size, channels, network, attention=attention)


def _sample_size(pictures: PictureSet) -> int | tuple[int, int]:
    height, width = pictures.size
    return height if height == width else (height, width)
