"""From a MODEL and a masked LATENT to a LATENT whose hole is filled by RePaint."""

from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher

from ..pictures.provenance import digest
from ..schedulers.errors import UserError
from ..schedulers.sampler import Sampler
from ..schedulers.span import Stretch
from .page import Ui
from .sampling import sample


def repaint(
    model: ModelPatcher,
    make_sampler: Callable[[Stretch], Sampler],
    *,
    latent: dict[str, Any],
    **inputs: Any,
) -> tuple[dict[str, Any], Ui]:
    """Fill the masked part of the LATENT.

    Args:
        model: a MODEL of this pack.
        make_sampler: makes a ``RePaint``.
        latent: the known images and their mask.
        inputs: as for ``sample``.

    Returns:
        As ``sample``.

    Raises:
        UserError: there is no mask, or the MODEL has another node's own masking.
    """
    mask = latent.get("noise_mask")
    if mask is None:
        raise UserError(
            "RePaint Sampler needs a mask, white where it should draw, but this LATENT has "
            "none. Connect 'Set Latent Noise Mask' between 'Image to Pixel Latent' and this "
            "node, with the mask of 'Load Image' or of 'Pad Image for Outpainting'."
        )
    if "denoise_mask_function" in model.model_options:
        raise UserError(
            "Another node (Differential Diffusion) changes the mask while this MODEL samples, "
            "which RePaint does not support. Connect the MODEL from before that node."
        )
    known = {"image": digest(latent["samples"]), "mask": digest(mask)}
    return sample(model, make_sampler, latent=latent, inputs=known, **inputs)
