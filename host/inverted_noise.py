"""The data of an exact inversion in a LATENT of noise, and the sampler that draws it back."""

from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..pictures.provenance import digest
from ..schedulers.bdia import BDIA
from ..schedulers.config import SchedulerConfig
from ..schedulers.ddim import DDIM
from ..schedulers.errors import UserError
from ..schedulers.sampler import Sampler
from ..schedulers.span import Span
from .our_model import unconditional_model

_KEY = "unconditional_inversion"
"""In a LATENT: the ``Inversion``, and the last two states of each image by the digest of its noise.

In float32, like the noise itself, they would give the image back only to within about 2e-5."""


@dataclass(frozen=True)
class Inversion:
    """How images were inverted with BDIA; drawing them back needs the same settings.

    Attributes:
        config: the scheduler options.
        span: the steps of drawing.
        gamma: see ``BDIA``.
        class_label: of all images; None: the model has no classes.
        model: its name.
        sha256: of its weights; None: unknown.
        spacing: as the user chose it.
    """

    config: SchedulerConfig
    span: Span
    gamma: float
    class_label: int | None
    model: str
    sha256: str | None
    spacing: str

    def sampler(self, states: Tensor) -> BDIA:
        """Return the sampler that goes back from these states, shape (B, 2C, H, W)."""
        return BDIA(self.config, self.span, gamma=self.gamma, states=states)


def with_inversion(latent: dict[str, Any], inversion: Inversion, states: Tensor) -> dict[str, Any]:
    """Return a LATENT of noise that carries the states of each image, (B, 2C, H, W), float64."""
    kept = {digest(n): state for n, state in zip(latent["samples"], states, strict=True)}
    return {**latent, _KEY: (inversion, kept)}


def find_inversion(latent: dict[str, Any]) -> tuple[Inversion, Tensor] | None:
    """Return the inversion of a LATENT of noise and its images' states, (B, 2C, H, W).

    Raises:
        UserError: it was changed after the inversion, or joined with other noise.
    """
    found = latent.get(_KEY)
    if found is None:
        return None
    inversion, states = found
    kept = [states.get(digest(image)) for image in latent["samples"]]
    if any(state is None for state in kept):
        raise UserError(
            "This noise was changed after 'Invert', or joined with other noise, so it does not "
            "lead back to its picture. Invert all pictures as one batch ('Batch Images'), change "
            "noise with 'Mix Noise', 'Noise Walk' or 'Shift Noise', or choose the method DDIM."
        )
    return inversion, torch.stack(kept)


def draw_back(
    model: ModelPatcher,
    sampler: Sampler,
    inversion: Inversion,
    states: Tensor,
    class_label: int | None,
) -> Sampler:
    """Return the sampler for noise from an inversion, in place of the node's sampler.

    Args:
        model: the node's MODEL.
        sampler: the node's sampler.
        inversion: how the noise was made.
        states: of each image, shape (B, 2C, H, W).
        class_label: the node's; None: the model has no classes.

    Raises:
        UserError: the node's sampler is not DDIM, or does not match the inversion.
    """
    ours = unconditional_model(model).source
    if not isinstance(sampler, DDIM) or sampler.eta:
        raise UserError(
            "This noise comes from 'Invert' with the method BDIA, which only 'DDIM Sampler' with "
            "eta 0 can draw. Use that, or choose the method DDIM in 'Invert'."
        )
    if ours.sha256 != inversion.sha256:
        raise UserError(
            f"This noise was made with the model {inversion.model}, but the sampler has "
            f"{ours.name}. Use the same model, or choose the method DDIM in 'Invert', whose "
            "noise works with any model."
        )
    if sampler.config != inversion.config:
        raise UserError(
            "This MODEL's noise schedule is not the one that 'Invert' made this noise with. "
            "Connect both nodes to the same MODEL."
        )
    if sampler.span != inversion.span:
        steps = len(inversion.span.timesteps)
        raise UserError(
            f"This noise was made with {steps} steps and the spacing '{inversion.spacing}', but "
            f"the sampler visits other timesteps ({len(sampler.span.timesteps)}, from "
            f"{sampler.span.timesteps[0]}). Set steps to {steps}, spacing to "
            f"'{inversion.spacing}' and denoise to 1."
        )
    if class_label != inversion.class_label:
        raise UserError(
            f"This noise was made with class_label {inversion.class_label}, not {class_label}. "
            "Set the same one, or choose the method DDIM in 'Invert' to draw another class."
        )
    return inversion.sampler(states)
