"""Our samplers as the parts of the host's SamplerCustomAdvanced: SAMPLER, SIGMAS, NOISE."""

from typing import Any, get_args

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.driver import HostSampler
from ..host.model_sampling import any_schedule, sigmas_of, span_of
from ..host.noise import ImageNoise
from ..schedulers.config import TimestepSpacing
from ..schedulers.ddpm import DDPM
from ..schedulers.errors import check_choice
from ..schedulers.pndm import PNDM
from ..schedulers.span import Span, Stretch
from ..schedulers.timesteps import make_timesteps, parse_timesteps
from .inputs import CATEGORY, method_input, seed_input, variance_type_input

_SPACINGS = ("model", *get_args(TimestepSpacing))


class UnconditionalPNDMSamplerSelect(io.ComfyNode):
    """PNDM Sampler Select."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalPNDMSamplerSelect",
            display_name="PNDM Sampler Select",
            category=CATEGORY,
            description="PNDM as a SAMPLER, for SamplerCustomAdvanced and any MODEL that predicts "
            "epsilon or v on discrete timesteps, as Stable Diffusion 1, 2 and XL do. It runs on "
            "diffusers' timesteps.",
            inputs=[method_input()],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, method: Any) -> io.NodeOutput:
        return io.NodeOutput(
            HostSampler(
                lambda model_sampling, sigmas: PNDM(
                    any_schedule(model_sampling), span_of(model_sampling, sigmas), method
                )
            )
        )


class UnconditionalDDPMSamplerSelect(io.ComfyNode):
    """DDPM Sampler Select."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalDDPMSamplerSelect",
            display_name="DDPM Sampler Select",
            category=CATEGORY,
            description="Ancestral sampling (Ho et al., 2020) as a SAMPLER, for "
            "SamplerCustomAdvanced and any MODEL that predicts epsilon or v on discrete timesteps. "
            "Only models of this pack are clipped, as their files say.",
            inputs=[variance_type_input()],
            outputs=[io.Sampler.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, variance_type: Any) -> io.NodeOutput:
        variance = None if variance_type == "model" else variance_type

        return io.NodeOutput(
            HostSampler(
                lambda model_sampling, sigmas: DDPM(
                    any_schedule(model_sampling), span_of(model_sampling, sigmas), variance
                )
            )
        )


class UnconditionalTimesteps(io.ComfyNode):
    """Timesteps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalTimesteps",
            display_name="Timesteps",
            category=CATEGORY,
            description="Which timesteps of a model a sampler visits, as SIGMAS. They are those of "
            "diffusers' schedulers, and any sampler takes them.",
            inputs=[
                io.Model.Input(
                    "model", tooltip="Any MODEL with discrete timesteps, of this pack or another."
                ),
                io.Combo.Input(
                    "spacing",
                    options=list(_SPACINGS),
                    tooltip="leading: every T // steps from 0 on. linspace: evenly from the last "
                    "to the first. trailing: evenly down from the last. model: what the model's "
                    "file says; leading for models of other kinds.",
                ),
                io.Int.Input(
                    "steps", default=50, min=1, max=10000, tooltip="How many timesteps to visit."
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="For image to image: where to begin, as a part of the schedule; 0.5 is "
                    "half way. Where fewer timesteps than steps lie below that, all of them.",
                ),
                io.Int.Input(
                    "steps_offset",
                    default=-1,
                    min=-1,
                    max=1000,
                    tooltip="Added to each timestep of the leading spacing; diffusers uses 1 for "
                    "Stable Diffusion. -1: as the model's file says; 0 for models of other kinds.",
                ),
                io.String.Input(
                    "timesteps",
                    default="",
                    tooltip="Instead of all that, the timesteps themselves, falling, such as "
                    "999, 750, 500, 250, 0.",
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="For any sampler that takes SIGMAS; ends with 0.")],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        spacing: Any,
        steps: int,
        denoise: float,
        steps_offset: int,
        timesteps: str,
    ) -> io.NodeOutput:
        check_choice("spacing", spacing, _SPACINGS)
        model_sampling: Any = model.get_model_object("model_sampling")
        config = any_schedule(model_sampling)
        if timesteps.strip():
            listed = parse_timesteps(timesteps, config.num_train_timesteps)
            return io.NodeOutput(sigmas_of(model_sampling, Span(tuple(listed))))
        if spacing != "model":
            config = config.changed(timestep_spacing=spacing)
        if steps_offset >= 0:
            config = config.changed(steps_offset=steps_offset)
        stretch = Stretch.of_denoise(steps, denoise, config.num_train_timesteps)
        if stretch.is_empty:
            return io.NodeOutput(torch.zeros(0))
        span = stretch.of(make_timesteps(config, stretch.steps, stretch.whole))
        return io.NodeOutput(sigmas_of(model_sampling, span))


class UnconditionalNoise(io.ComfyNode):
    """Noise per Image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalNoise",
            display_name="Noise per Image",
            category=CATEGORY,
            description="The NOISE that the samplers of this pack begin with: each image has its "
            "own seed, so that it is the same alone and in any batch. ComfyUI's RandomNoise draws "
            "a batch from one seed.",
            inputs=[
                seed_input(
                    "Image k has the seed seed + k, or seed + batch_index[k] where the latent has "
                    "one."
                )
            ],
            outputs=[io.Noise.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, seed: int) -> io.NodeOutput:
        return io.NodeOutput(ImageNoise(seed))
