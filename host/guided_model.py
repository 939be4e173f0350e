"""How our samplers call the host's model: through its guider, so that other nodes apply.

CFG, ControlNets, masks, wrappers and patches of other nodes use the host's conventions: x without
scale (x0 + sigma eps), the noise level sigma, and the image that the model predicts. Our samplers
use x_t, the time, and the model's output.
"""

from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ..schedulers.errors import ScheduleError
from ..schedulers.prediction import clip_x0
from ..schedulers.sampler import Sampler, ScheduleSampler
from .memory import strips
from .model import UnconditionalModel
from .network import Request
from .precision import computes_float64

_VERY_LARGE = 2**24
"""Values of an image, for example 2365 x 2365 pixels in colour."""


class GuidedModel:
    """The host's model as a ``Model`` for our samplers.

    Args:
        guider: the host's model with its conditioning.
        sampler: the sampler that calls it.
        sigmas: of the host's run, for masks that change with them.
        extra_args: what the host passes on to its model: options and the seed.
        noise: the images' initial noise, shape (B, C, H, W), with which known parts are re-noised.
        known: the image where ``mask`` is 0, shape (B, C, H, W).
        mask: shape (B, C, H, W), 1 where the image is made, or None.
        class_label: for a network of ours.
    """

    def __init__(
        self,
        guider: Any,
        sampler: Sampler,
        *,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        noise: Tensor,
        known: Tensor,
        mask: Tensor | None,
        class_label: int | None,
    ):
        self._model: Any = comfy.samplers.KSamplerX0Inpaint(guider, sigmas)
        self._model.noise, self._model.latent_image = noise, known
        self._sampler, self._extra_args, self._mask = sampler, extra_args, mask
        self._class_label = class_label
        self._last_x0: Tensor | None = None
        # Our own network is called in float64, so that converting to the host's convention and back
        # changes no digit of float32; not every device has it, and other models expect float32. The
        # host holds six copies, so a very large image has to do without.
        ours = isinstance(guider.inner_model, UnconditionalModel)
        exact = ours and computes_float64(noise.device) and noise[0].numel() < _VERY_LARGE
        self._keeps_last = ours and guider.inner_model.unet_config.is_self_conditioned
        self._dtype = torch.float64 if exact else torch.float32

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        scale, sigma = self._sampler.level(t, self._dtype)
        sigma = sigma.to(x_t.device).expand(len(x_t))

        time = self._sampler.network_time(t)
        request = Request(time, self._class_label, sigma[0], self._last_x0)
        options = self._extra_args["model_options"]
        transformer_options = {**options.get("transformer_options", {}), Request.KEY: request}
        x0 = self._model(
            x_t.to(self._dtype) / scale,  # not kept meanwhile: each copy of a large image counts
            sigma,
            self._mask,
            model_options={**options, "transformer_options": transformer_options},
            seed=self._extra_args.get("seed"),
        )

        # A self-conditioned network was trained with what its own samplers pass: the clipped image.
        if self._keeps_last and isinstance(self._sampler, ScheduleSampler):
            self._last_x0 = clip_x0(x0, self._sampler.config)
        output = torch.empty_like(x_t)
        for rows in strips(x_t):
            part = x_t[:, :, rows].to(self._dtype)
            output[:, :, rows] = self._sampler.output_of(x0[:, :, rows], part, t)
        del x0
        if request.learned_variance is None:
            return output
        if request.learned_variance.shape != x_t.shape:
            raise ScheduleError(
                "This model predicts its variance, but another node evaluates the image in "
                f"parts ({tuple(request.learned_variance.shape)} of {tuple(x_t.shape)}), and "
                "their variances cannot be combined. Remove that node (an area of the "
                "conditioning, a context window, tiles)."
            )
        return torch.cat((output, request.learned_variance.to(output)), dim=1)
