"""A MODEL whose images keep a measurement: a post-CFG function, which all samplers use."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from comfy.model_patcher import ModelPatcher
from torch import Tensor
from torch.nn import functional as F

from ..pictures.images import LUMINANCE, image_to_latent, to_channels
from ..pictures.provenance import Record, digest
from ..schedulers.errors import UserError
from ..schedulers.restoration import Blocks, Linear, Measurement, WeightedChannels
from .image_patch import ImagePatch, clipped, level_after, noise_level, patches_of, with_patch
from .our_model import unconditional_model

Task = Literal["enlarge x2", "enlarge x4", "enlarge x8", "colour", "holes", "layout"]
_FACTORS: dict[str, int] = {f"enlarge x{factor}": factor for factor in (2, 4, 8)}


@dataclass(frozen=True, eq=False)
class Restoration(ImagePatch):
    """Clips each predicted image, then projects it.

    Attributes:
        measurement: of the images, in the model's range.
        size: height and width of the images.
        noise: the measurement's, as a standard deviation in -1..1.
        until: the part of the schedule in which images are projected, from its start; 0..1.
    """

    rank: ClassVar[int] = 1
    """The measurement must hold whatever else changes the image, so this runs last."""

    measurement: Measurement
    size: tuple[int, int]
    noise: float
    until: float

    def __call__(self, args: dict[str, Any]) -> Tensor:
        x0 = clipped(args)
        last = max(level_after(args, self.until), self.noise)
        return self.project(x0) if noise_level(args) >= last else x0

    def project(self, x0: Tensor) -> Tensor:
        """Return the nearest images with this measurement.

        Raises:
            UserError: the images have another size.
        """
        if x0.shape[-2:] != self.size:
            height, width = self.size
            raise UserError(
                f"With this image, Restore ({self.record['task']}) needs pictures of {width} x "
                f"{height} pixels, but the sampler draws {x0.shape[-1]} x {x0.shape[-2]}. "
                f"Connect 'Empty Pixel Latent' with width {width} and height {height} to the "
                "sampler's latent, or resize the image before 'Restore' with 'Upscale Image'."
            )
        return self.measurement.project(x0)

    @property
    def reaches_end(self) -> bool:
        """Whether the finished image has exactly this measurement."""
        return self.until >= 1 and not self.noise


def restore(
    patcher: ModelPatcher,
    image: Tensor,
    task: Task,
    *,
    noise: float = 0.0,
    until: float = 1.0,
    block_size: int = 8,
    mask: Tensor | None = None,
) -> ModelPatcher:
    """Return a MODEL of this pack whose images agree with ``image``.

    Args:
        patcher: is not changed.
        image: IMAGE, shape (n, h, w, c), in 0..1.
        task: what the image is.
        noise: standard deviation of the image's noise, in 0..1.
        until: the part of the schedule in which this applies, from its start; 0..1.
        block_size: of a layout, in pixels.
        mask: 1 where the image is not known, shape (m, h, w) of any size, or None.

    Raises:
        UserError: ``holes`` without a mask, or ``colour`` with a model that draws grey.
        ValueError: the MODEL is of another kind, or its channels are not those of an image.
        ConfigError: the model cannot draw the size that the image asks for.
    """
    config = unconditional_model(patcher).unet_config
    factor = _FACTORS.get(task, 1)
    size = (image.shape[1] * factor, image.shape[2] * factor)
    config.check_size(*size)
    if task == "holes" and mask is None:
        raise UserError(
            "The task 'holes' needs a mask, white where the model should draw. Connect the mask "
            "of 'Load Image', or any other."
        )
    measurement = _measure(image, task, config.in_channels, block_size, mask)
    record: Record = {"task": task, "image": digest(measurement.y), "noise": noise, "until": until}
    if task == "layout":
        record["block_size"] = block_size
    if measurement.known is not None:
        record["mask"] = digest(measurement.known)
    return with_patch(patcher, Restoration(record, measurement, size, 2 * noise, until))


def _measure(
    image: Tensor, task: Task, channels: int, block_size: int, mask: Tensor | None
) -> Measurement:
    operator: Linear = Blocks(_FACTORS.get(task, 1))
    if task == "colour":
        if channels < 3:
            raise UserError(
                "The task 'colour' needs a model that draws in colour, but this one draws grey. "
                "Connect a model with 3 channels."
            )
        operator = WeightedChannels((*LUMINANCE, *[0.0] * (channels - 3)))
        channels = 1
    y = image_to_latent(to_channels(image, channels))
    if task == "layout":
        operator = Blocks(block_size)
        y = operator.measure(y)
    if mask is None:
        return Measurement(operator, y)
    white = F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]).float(), y.shape[-2:], mode="area")
    return Measurement(operator, y, white < 0.5)


def finish(x: Tensor, model_options: dict[str, Any]) -> Tensor:
    """Return finished images with the measurements that they must have.

    A sampler whose last step combines several evaluations only comes close to them.

    Args:
        x: shape (B, C, H, W), in the model's range.
        model_options: the host's, of the MODEL that drew them.
    """
    for restoration in patches_of(model_options, Restoration):
        if restoration.reaches_end:
            x = restoration.measurement.project_into_range(x)
    return x
