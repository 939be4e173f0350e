"""From a consistency MODEL to a LATENT."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.our_model import own_consistency
from ..host.run_report import REPORTS
from ..host.sampling import sample
from ..schedulers.consistency import Consistency
from ..schedulers.span import Stretch
from .inputs import (
    CATEGORY,
    batch_size_input,
    class_label_input,
    image_to_image_inputs,
    latent_output,
    model_input,
    noise_input,
    seed_input,
)


class UnconditionalConsistencySampler(io.ComfyNode):
    """Consistency Sampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalConsistencySampler",
            display_name="Consistency Sampler",
            category=CATEGORY,
            description="Samples a consistency model (Song et al., ICML 2023) in one step, or in a "
            "few that add new noise in between.",
            search_aliases=["cm", "diffusers", "distilled", "lcm", "one step"],
            inputs=[
                model_input(),
                seed_input(),
                io.Int.Input(
                    "steps",
                    default=1,
                    min=1,
                    max=40,
                    tooltip="Steps, one evaluation each. These models are made for 1; 2 often look "
                    "better. The noise levels are spaced evenly over the model's list.",
                ),
                batch_size_input(),
                io.String.Input(
                    "timesteps",
                    default="",
                    tooltip="A list of the model's noise levels to use instead of steps, as in "
                    "diffusers: 22, 0. 0 is the highest level and must be the last entry. "
                    "Good values: 22, 0 for ImageNet 64 and 17, 0 for LSUN 256. With "
                    "denoise below 1, levels with more noise than the start are left out.",
                ),
                class_label_input(),
                *image_to_image_inputs(),
                noise_input(),
            ],
            outputs=latent_output(),
            **REPORTS,
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        timesteps: str,
        class_label: int = -1,
        denoise: float = 1.0,
        **inputs: Any,
    ) -> io.NodeOutput:
        config, listed = own_consistency(model), None
        if timesteps.strip() and denoise > 0:  # with 0 nothing runs
            listed = Consistency.at(config, timesteps, denoise)
            inputs["steps"] = listed.evaluations

        def make_sampler(stretch: Stretch) -> Consistency:
            return listed or Consistency.over(config, stretch)

        latent, report = sample(
            model, make_sampler, class_label=class_label, denoise=denoise, **inputs
        )
        return io.NodeOutput(latent, ui=report)
