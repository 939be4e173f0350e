"""From a MODEL to a plot of its noise schedule in the node."""

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.model_sampling import any_schedule, span_of
from ..host.page import for_page
from ..schedulers.noise_schedule import NoiseSchedule
from ..schedulers.outline import outline
from ..schedulers.timesteps import make_timesteps
from .inputs import CATEGORY, chosen_spacing, spacing_input


class UnconditionalShowSchedule(io.ComfyNode):
    """Show Schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalShowSchedule",
            display_name="Show Schedule",
            category=CATEGORY,
            description="Plots a model's noise schedule in the node: alphas_cumprod, betas and the "
            "signal-to-noise ratio, with the timesteps that a sampler visits.",
            search_aliases=["alphas cumprod", "betas", "plot schedule", "sigmas", "snr"],
            is_output_node=True,
            inputs=[
                io.Model.Input(
                    "model", tooltip="Any MODEL with discrete timesteps, from this pack or not."
                ),
                io.Int.Input(
                    "steps",
                    default=50,
                    min=1,
                    max=10000,
                    tooltip="Marks the timesteps of a sampler with this many steps.",
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Marks the timesteps closest to these noise levels instead, for "
                    "example those of Timesteps or of a ComfyUI scheduler.",
                ),
                spacing_input(),
            ],
            outputs=[],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        steps: int,
        sigmas: torch.Tensor | None = None,
        spacing: str = "model",
    ) -> io.NodeOutput:
        model_sampling: Any = model.get_model_object("model_sampling")
        config = any_schedule(model_sampling)
        if sigmas is None:
            timesteps = make_timesteps(config, steps, spacing=chosen_spacing(spacing))
        else:
            timesteps = list(span_of(model_sampling, sigmas).timesteps)
        points = outline(NoiseSchedule.from_config(config))
        drawn = {
            "T": config.num_train_timesteps,
            "t": points.t,
            "alphas_cumprod": points.alphas_cumprod,
            "betas": points.betas,
            "timesteps": timesteps,
        }
        return io.NodeOutput(ui=for_page("unconditional_schedule", drawn))
