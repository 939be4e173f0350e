"""Our samplers as the parts of the host's SamplerCustomAdvanced: SAMPLER, SIGMAS, NOISE."""

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.driver import HostSampler
from ..host.model_sampling import any_schedule, sigmas_of, span_of
from ..host.noise import ImageNoise
from ..schedulers.ddpm import DDPM
from ..schedulers.pndm import PNDM
from ..schedulers.span import Span, Stretch
from ..schedulers.timesteps import make_timesteps, parse_timesteps
from .inputs import (
    CATEGORY,
    SPACINGS,
    chosen_spacing,
    method_input,
    seed_input,
    variance_type_input,
)


class UnconditionalPNDMSamplerSelect(io.ComfyNode):
    """PNDM Sampler Select."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalPNDMSamplerSelect",
            display_name="PNDM Sampler Select",
            category=CATEGORY,
            description="PNDM as a SAMPLER for SamplerCustomAdvanced. Works with any MODEL that "
            "predicts epsilon or v on discrete timesteps, for example Stable Diffusion 1, 2 and "
            "XL, and uses diffusers' timesteps.",
            search_aliases=["diffusers", "f-pndm", "ipndm", "plms", "sampler select"],
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
            description="DDPM's ancestral sampling (Ho et al., 2020) as a SAMPLER for "
            "SamplerCustomAdvanced. Works with any MODEL that predicts epsilon or v on discrete "
            "timesteps. Clips only models of this pack, as set in their files.",
            search_aliases=["ancestral", "diffusers", "sampler select"],
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
            description="The timesteps that a sampler visits, as SIGMAS. They match diffusers' "
            "schedulers and work with any sampler.",
            search_aliases=["diffusers", "leading", "scheduler", "sigmas", "spacing", "trailing"],
            inputs=[
                io.Model.Input(
                    "model", tooltip="Any MODEL with discrete timesteps, from this pack or not."
                ),
                io.Combo.Input(
                    "spacing",
                    options=list(SPACINGS),
                    tooltip="leading: every T // steps, from 0 up. linspace: evenly from the last "
                    "to the first. trailing: evenly down from the last. power: steps that become "
                    "shorter towards the image, for 8 to 30 steps. optimised: those that Optimise "
                    "Timesteps found for the model. model: as set in the model's file, or leading "
                    "for other models.",
                ),
                io.Int.Input(
                    "steps",
                    default=50,
                    min=1,
                    max=10000,
                    tooltip="The number of timesteps to visit.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="For image to image: where in the schedule to start. 0.5 is half-way. "
                    "If fewer timesteps than steps remain, all of them are used.",
                ),
                io.Int.Input(
                    "steps_offset",
                    default=-1,
                    min=-1,
                    max=1000,
                    tooltip="Added to each timestep of the leading spacing. diffusers uses 1 for "
                    "Stable Diffusion. -1 uses the value in the model's file, or 0 for other "
                    "models.",
                    advanced=True,
                ),
                io.String.Input(
                    "timesteps",
                    default="",
                    tooltip="A list of timesteps to use instead of the settings above, in "
                    "descending order: 999, 750, 500, 250, 0.",
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="For any sampler that takes SIGMAS. Ends with 0.")],
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
        model_sampling: Any = model.get_model_object("model_sampling")
        config, own = any_schedule(model_sampling), chosen_spacing(spacing)
        if timesteps.strip():
            listed = parse_timesteps(timesteps, config.num_train_timesteps)
            return io.NodeOutput(sigmas_of(model_sampling, Span(tuple(listed))))
        if steps_offset >= 0:
            config = config.changed(steps_offset=steps_offset)
        stretch = Stretch.of_denoise(steps, denoise, config.num_train_timesteps)
        if stretch.is_empty:
            return io.NodeOutput(torch.zeros(0))
        span = stretch.of(make_timesteps(config, stretch.steps, stretch.whole, own))
        return io.NodeOutput(sigmas_of(model_sampling, span))


class UnconditionalNoise(io.ComfyNode):
    """Noise per Image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalNoise",
            display_name="Noise per Image",
            category=CATEGORY,
            description="The NOISE that this pack's samplers start from. Each image has its own "
            "seed, so it is the same alone or in any batch; ComfyUI's RandomNoise uses one seed "
            "for the whole batch.",
            search_aliases=["batch seed", "random noise", "seed per image"],
            inputs=[
                seed_input(
                    "The seed of the first image. Image k uses seed + k, or seed + batch_index[k] "
                    "if the latent has one."
                )
            ],
            outputs=[io.Noise.Output(tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, seed: int) -> io.NodeOutput:
        return io.NodeOutput(ImageNoise(seed))
