"""Checkpoint formats: how to recognise them by tensor names, and how to convert them to diffusers.

To add a format, add one file here and one line to the table. The first match is used.
"""

from collections.abc import Iterable

from . import diffusers, early_diffusers, ho, lucidrains, openai
from .conversion import Converted, Format

FORMATS: dict[str, Format] = {
    "Ho et al. (DDPM)": Format(ho.matches, ho.convert),
    "OpenAI (improved- or guided-diffusion)": Format(openai.matches, openai.convert),
    "lucidrains (denoising-diffusion-pytorch)": Format(
        lucidrains.matches, lucidrains.convert, lucidrains.CLASS_NAMES
    ),
    "early diffusers": Format(
        early_diffusers.matches, early_diffusers.convert, early_diffusers.CLASS_NAMES
    ),
    "diffusers": Format(diffusers.matches, diffusers.convert, diffusers.CLASS_NAMES),
}

CLASS_NAMES = frozenset(name for form in FORMATS.values() for name in form.class_names)
"""The network classes in a ``config.json`` that some format reads."""

__all__ = ["CLASS_NAMES", "FORMATS", "Converted", "Format", "identify"]


def identify(names: Iterable[str]) -> str | None:
    """Return the key in ``FORMATS`` of a checkpoint with these tensors; None if unknown."""
    names = set(names)
    return next((kind for kind, form in FORMATS.items() if form.matches(names)), None)
