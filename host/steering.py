"""A MODEL whose images are steered by a score: a patch of each predicted image."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import comfy.model_management
import comfy.patcher_extension
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..checkpoints.digest import FileDigest
from ..classifiers.base import Classifier
from ..classifiers.reading import read_classifier
from ..pictures.provenance import Record
from ..schedulers.errors import UserError
from ..schedulers.steering import moved_by_image, moved_by_input
from .gradients import through, with_gradients
from .image_patch import ImagePatch, clipped, level_after, noise_level, with_patch
from .model_sampling import network_times
from .network import Request
from .noise import BatchSeed
from .our_model import unconditional_model

Through = Literal["image", "network"]

_KEY = "unconditional_steer"
"""The key of the networks that the host loads together with the MODEL."""
_SEEDS = "unconditional_seeds"
"""The key of the images' seeds in the host's ``transformer_options``."""


class Score(ABC):
    """A score to steer by: the logarithm of a probability of images.

    Attributes:
        patcher: its network, which the host loads before sampling.
        record: what a picture's record says about it.
        sees_noise: whether it takes x_t instead of predicted images.
        at_once: how many images it takes at a time; None: all.
    """

    patcher: ModelPatcher
    record: Record
    sees_noise: bool = False
    at_once: int | None = None

    @abstractmethod
    def __call__(self, images: Tensor, moment: "Moment") -> Tensor:
        """Return log p of each image, shape (B,), differentiable by ``images``, (B, C, H, W)."""


@dataclass(frozen=True)
class Moment:
    """The point of a run that some images have reached.

    Attributes:
        sigma: their noise level.
        t: the network's time for it.
        seeds: of each image.
    """

    sigma: float
    t: float
    seeds: Sequence[int]


class ClassScore(Score):
    """log p(class | image), from a classifier.

    Args:
        classifier: from ``read_classifier``.
        index: the class, counted from 0.
        name: of the classifier.
        sha256: of its file.

    Raises:
        UserError: there is no such class.
    """

    def __init__(self, classifier: Classifier, index: int, name: str, sha256: str | None):
        classifier.check_class(index)
        self._classifier, self._index = classifier, index
        self.patcher = ModelPatcher(
            classifier,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )
        self.sees_noise = classifier.sees_noise
        self.record = {"classifier": name, "sha256": sha256, "class": index}
        if classifier.names:
            self.record["class_name"] = classifier.name_of(index)

    def check_channels(self, channels: int) -> None:
        """Raise ``UserError`` unless the classifier is for images with this many channels."""
        own = self._classifier.channels
        if own != channels:
            raise UserError(
                f"This classifier is for images with {_channels(own)}, but the model draws images "
                f"with {_channels(channels)}. Choose a classifier that was trained on pictures "
                "like the model's."
            )

    def __call__(self, images: Tensor, moment: Moment) -> Tensor:
        height, width = self._classifier.size
        if images.shape[-2:] != (height, width):
            raise UserError(
                f"This classifier is for pictures of {width} x {height} pixels, but the sampler "
                f"draws {images.shape[-1]} x {images.shape[-2]}. Connect 'Empty Pixel Latent' with "
                f"width {width} and height {height} to the sampler's latent, or choose another "
                "classifier."
            )
        x = images.to(self.patcher.load_device, torch.float32)
        t = torch.full((len(x),), moment.t, device=x.device)
        logits = through(self._classifier, self._classifier, x, t)
        return logits.log_softmax(1)[:, self._index]


def _channels(count: int) -> str:
    return f"{count} channel{'s' if count > 1 else ''}"


@dataclass(frozen=True, eq=False)
class Steering(ImagePatch):
    """Clips each predicted image, then moves it along the gradient of a score.

    Attributes:
        score: the score to raise.
        weight: 1 is the guidance of Dhariwal & Nichol 2021.
        through: which gradient of a score of images to use: with respect to the image alone, or to
            the network's input, back through the network.
        start, until: the part of the schedule in which images are moved; 0..1.
    """

    score: Score
    weight: float
    through: Through
    start: float
    until: float

    def __call__(self, args: dict[str, Any]) -> Tensor:
        x0 = clipped(args)
        first, last = (level_after(args, part) for part in (self.start, self.until))
        if not last <= noise_level(args) <= first:
            return x0
        sigma = args["sigma"].to(x0)
        if self.score.sees_noise:
            gradient = self._gradient(args, args["input"], _noisy)
        elif self.through == "network":
            gradient = self._gradient(args, args["input"], _predicted)
        else:
            gradient = self._gradient(args, x0, lambda args, x, some: x)
            return moved_by_image(x0, gradient, sigma, self.weight)
        return moved_by_input(x0, gradient, sigma, self.weight)

    def _gradient(self, args: dict[str, Any], x: Tensor, seen_of: "SeenOf") -> Tensor:
        """Return the gradient with respect to x of the score of ``see(x)``, shape (B, C, H, W).

        The scores are summed, so an image does not depend on the others in its batch.
        """
        time = network_times(args["model"].model_sampling, args["sigma"][:1]).item()
        seeds = args["model_options"]["transformer_options"][_SEEDS]
        size = self.score.at_once or len(x)
        if seen_of is _predicted:
            size = min(size, args["model"].memory.with_gradients(x))
        gradients = []
        for begin in range(0, len(x), size):
            comfy.model_management.throw_exception_if_processing_interrupted()
            some = slice(begin, begin + size)
            moment = Moment(noise_level(args), time, seeds[some])
            with with_gradients():
                part = x[some].clone().requires_grad_()
                seen = seen_of(args, part, some)
                gradients.append(torch.autograd.grad(self.score(seen, moment).sum(), part)[0])
        return torch.cat(gradients).to(x)


SeenOf = Callable[[dict[str, Any], Tensor, slice], Tensor]
"""(the host's arguments, x of some of the images, their indices) -> the input of the score."""


def _noisy(args: dict[str, Any], x: Tensor, some: slice) -> Tensor:
    """Return x_t."""
    return args["model"].model_sampling.calculate_input(args["sigma"][some].clone(), x)


def _predicted(args: dict[str, Any], x: Tensor, some: slice) -> Tensor:
    """Return the images that the network predicts, clipped.

    Where they are clipped, the gradient is 0: at high noise most of the output is out of range.
    """
    model, sigma = args["model"], args["sigma"][some].clone()
    options = {**args["model_options"]["transformer_options"], "cond_or_uncond": [0]}
    request: Request | None = options.get(Request.KEY)
    if request is not None:  # its answer belongs to the evaluation that is steered
        last = None if request.last_x0 is None else request.last_x0[some].clone()
        options[Request.KEY] = replace(request, last_x0=last, learned_variance=None)
    x0 = through(
        model.network, lambda x: model.apply_model(x, sigma, transformer_options=options), x
    )
    return clipped({**args, "denoised": x0})


def steer(
    patcher: ModelPatcher,
    score: Score,
    *,
    weight: float,
    through: Through,
    start: float = 0.0,
    until: float = 1.0,
) -> ModelPatcher:
    """Return a MODEL of this pack whose images are moved towards a higher score.

    Args:
        patcher: is not changed.
        score: the score of the images.
        weight: 1 is the guidance of Dhariwal & Nichol 2021; 0 changes nothing.
        through: see ``Steering``.
        start, until: the part of the schedule in which this applies; 0..1.

    Raises:
        ValueError: the MODEL is of another kind.
    """
    unconditional_model(patcher)
    if not weight:
        return patcher
    settings: Record = {"weight": weight, "start": start, "until": until}
    if not score.sees_noise:
        settings["through"] = through
    record = {**score.record, **settings}
    steered = with_patch(patcher, Steering(record, score, weight, through, start, until))
    others = steered.get_additional_models_with_key(_KEY)
    steered.set_additional_models(_KEY, [*others, score.patcher])
    wrapper = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
    steered.remove_wrappers_with_key(wrapper, _KEY)
    steered.add_wrapper_with_key(wrapper, _KEY, _with_seeds)
    return steered


def _with_seeds(
    predict: Callable[..., Tensor],
    x: Tensor,
    sigma: Tensor,
    model_options: dict[str, Any],
    seed: int | None,
) -> Tensor:
    """Tell the patches the seed of each image; the host passes seeds no further than this."""
    seeds = BatchSeed.images_of(seed or 0, len(x))
    options = {**model_options.get("transformer_options", {}), _SEEDS: seeds}
    return predict(x, sigma, {**model_options, "transformer_options": options}, seed)


def class_score(path: Path, name: str, index: int, model: ModelPatcher) -> ClassScore:
    """Return the score of a class, from the classifier in a file.

    Args:
        path: of the file.
        name: of the classifier.
        index: the class, counted from 0.
        model: what it will steer.

    Raises:
        ValueError: the MODEL is of another kind, the file is not a classifier, there is no such
            class, or the channels of the images differ.
    """
    channels = unconditional_model(model).unet_config.in_channels
    score = ClassScore(read_classifier(path), index, name, FileDigest(path).sha256)
    score.check_channels(channels)
    return score
