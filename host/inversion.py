"""From the images of a LATENT to the noise that gives them."""

from collections import deque
from functools import partial
from typing import Any, Literal

import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..pictures.provenance import KEY, Record, digest, make_records
from ..schedulers.bdia import BDIAInversion, DDIMInversion
from ..schedulers.ddim import DDIM
from ..schedulers.errors import UserError
from ..schedulers.sampler import Evaluation, ScheduleSampler
from ..schedulers.span import Stretch
from ..schedulers.timesteps import Spacing
from .image_patch import ImagePatch, patches_of
from .inverted_noise import Inversion, with_inversion
from .latents import fit_latent
from .noise import Drawn
from .our_model import own_schedule, unconditional_model
from .sampling import chosen_settings, quietly, record_of, run_sampler

Method = Literal["BDIA", "DDIM"]


def invert(
    model: ModelPatcher,
    latent: dict[str, Any],
    method: Method,
    steps: int,
    gamma: float,
    class_label: int | None,
    spacing: str,
    own_spacing: Spacing | None,
) -> tuple[dict[str, Any], float]:
    """Invert the images of a LATENT, and draw them again to measure the error.

    Args:
        model: the MODEL, with the patches of other nodes.
        latent: the images; its mask is ignored.
        method: BDIA gives noise with a rest, for DDIM Sampler; DDIM gives noise for any sampler.
        steps: of drawing; inversion takes as many evaluations, and BDIA one more.
        gamma: see ``BDIA``.
        class_label: None: the model has no classes.
        spacing, own_spacing: the user's choice, and the spacing it resolves to.

    Returns:
        The LATENT of noise, and the root mean square difference, in -1..1.

    Raises:
        UserError: the model cannot be inverted, or images are not finite.
    """
    config, ours = own_schedule(model), unconditional_model(model)
    if ours.unet_config.is_self_conditioned:
        raise UserError(
            "This model is self-conditioned: its prediction depends on earlier steps, which are "
            "unknown when running backwards. Invert with another model."
        )
    if patches_of(model.model_options, ImagePatch):
        raise UserError(
            "'Restore' or 'Steer' changes what this MODEL predicts, so it cannot be inverted. "
            "Connect the MODEL from before that node."
        )
    latent = {k: v for k, v in fit_latent(model, latent).items() if k != "noise_mask"}
    way: ScheduleSampler
    if method == "BDIA":
        way = BDIAInversion.over(config, Stretch(steps), own_spacing, gamma=gamma)
    else:
        way = DDIMInversion.over(config, Stretch(steps), own_spacing)
    total = way.evaluations + steps
    show = latent_preview.prepare_callback(model, total)

    def callback(before: int, step: int, x0: Tensor, x: Tensor, _: int) -> None:
        show(before + step, x0, x, total)

    run = partial(run_sampler, model, latent=latent, seed=0, class_label=class_label)
    last = deque[Evaluation](maxlen=2)
    inverted = run(way, start="data", callback=partial(callback, 0), on_evaluation=last.append)
    if inverted.lost:
        raise UserError(
            "Inverting gave NaN or infinite values for some of the pictures, because they are "
            "unlike those that the model learned. Use pictures of its kind, more steps, or the "
            "method DDIM."
        )
    images, noise = latent["samples"], inverted.latent["samples"]
    record: Record = record_of(
        model, way, class_label, {"steps": steps, **chosen_settings(spacing)}
    )
    each = [{"picture": digest(image)} for image in images]
    result = {**inverted.latent, KEY: make_records(noise, each, record)}

    back: ScheduleSampler = DDIM(config, way.span)
    if isinstance(way, BDIAInversion):
        states = torch.cat((last[-1].x_t, way.rest(*last)), dim=1).cpu()
        source = ours.source
        inversion = Inversion(
            config, way.span, gamma, class_label, source.name, source.sha256, spacing
        )
        result = with_inversion(result, inversion, states)
        back = inversion.sampler(states)
    shown = partial(callback, way.evaluations)
    with quietly():
        again = run(back, start="noise", drawn=Drawn(noise.cpu(), each), callback=shown)
    apart = again.latent["samples"] - images[again.kept].to(again.latent["samples"])
    return result, apart.square().mean().sqrt().item()
