"""Patches of each image that a MODEL predicts: this pack's post-CFG functions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import inf
from typing import Any, ClassVar, TypeVar, cast

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..pictures.provenance import Record
from ..schedulers.config import SchedulerConfig
from ..schedulers.prediction import clip_x0
from ..schedulers.sampler import Sampler, ScheduleSampler
from .model_sampling import process_to_draw

_KEY = "sampler_post_cfg_function"


@dataclass(frozen=True, eq=False)
class ImagePatch(ABC):
    """A post-CFG function that clips each predicted image, then changes it. All samplers use it.

    Attributes:
        record: what a picture's record says about it.
    """

    rank: ClassVar[int] = 0
    """Patches with a higher rank run later, whatever the order of the nodes."""

    record: Record

    @abstractmethod
    def __call__(self, args: dict[str, Any]) -> Tensor:
        """Return the changed images, shape (B, C, H, W); called by the host.

        Args:
            args: the predicted images ``denoised``, the host's x ``input``, both of this shape; the
                noise levels ``sigma``, shape (B,); the ``model``, the ``model_options``.
        """


def clipped(args: dict[str, Any]) -> Tensor:
    """Return the predicted images of ``args``, clipped according to the model's options."""
    model = args["model"]
    process = process_to_draw(model.model_sampling, model.scheduler_config)
    if isinstance(process, SchedulerConfig):
        return clip_x0(args["denoised"], process)
    return args["denoised"]


def noise_level(args: dict[str, Any]) -> float:
    """Return the noise level of the images of ``args``."""
    return args["sigma"].max().item()


def level_after(args: dict[str, Any], part: float) -> float:
    """Return the noise level that remains after a part of the schedule, from its start; 0..1."""
    if part >= 1:
        return 0.0
    if part <= 0:
        return inf
    levels: Tensor = args["model"].model_sampling.sigmas  # ascending
    return levels[round((1 - part) * (len(levels) - 1))].item()


def with_patch(patcher: ModelPatcher, patch: ImagePatch) -> ModelPatcher:
    """Return a MODEL with one more patch; patches are called in the order of their ``rank``."""
    changed = patcher.clone()
    changed.set_model_sampler_post_cfg_function(cast(Any, patch))
    functions = cast("list[Any]", changed.model_options[_KEY])
    functions.sort(key=lambda function: getattr(function, "rank", 0))
    return changed


Patch = TypeVar("Patch", bound=ImagePatch)


def patches_of(model_options: dict[str, Any], kind: type[Patch]) -> list[Patch]:
    """Return the patches of a kind that a MODEL has, from its options."""
    return [f for f in model_options.get(_KEY, []) if isinstance(f, kind)]


def without_clipping(sampler: Sampler, model_options: dict[str, Any]) -> Sampler:
    """Return the sampler for a MODEL that may have patches, which must run after clipping."""
    if not patches_of(model_options, ImagePatch) or not isinstance(sampler, ScheduleSampler):
        return sampler
    return replace(sampler, config=sampler.config.changed(clip_sample=False, thresholding=False))
