"""From pictures to the noise that gives them."""

from typing import Any, get_args

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.inversion import Method, invert
from ..host.run_report import REPORTS
from ..schedulers.errors import check_choice
from .inputs import (
    CATEGORY,
    chosen_spacing,
    class_label_input,
    model_input,
    spacing_input,
    steps_input,
)


class UnconditionalInvert(io.ComfyNode):
    """Invert."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalInvert",
            display_name="Invert",
            category=CATEGORY,
            description="Finds the noise from which a model draws your picture, to vary it, to "
            "walk from one picture to another, or to redraw a part. BDIA gives the picture back "
            "exactly.",
            search_aliases=["bdia", "ddim inversion", "image to noise", "reverse", "unsampler"],
            inputs=[
                model_input(),
                io.Latent.Input(
                    "latent",
                    tooltip="The pictures, from Image to Pixel Latent or a sampler. A mask has no "
                    "effect.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(get_args(Method)),
                    tooltip="BDIA: exact; for DDIM Sampler with eta 0, the same model, steps and "
                    "spacing. DDIM: the noise works in any sampler and model, but gives the "
                    "picture back only approximately.",
                ),
                steps_input(20, "The steps of the sampler that will draw the noise."),
                io.Float.Input(
                    "gamma",
                    default=1.0,
                    min=0.5,
                    max=1.0,
                    step=0.01,
                    tooltip="For BDIA. 1 treats both directions the same way. Below 1, errors grow "
                    "towards the noise and shrink on the way back.",
                    advanced=True,
                ),
                class_label_input(),
                spacing_input(),
            ],
            outputs=[
                io.Latent.Output(
                    tooltip="The noise, for the noise input of a sampler, Mix Noise, Noise Walk or "
                    "Shift Noise."
                )
            ],
            **REPORTS,
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        latent: dict[str, Any],
        method: Any,
        steps: int,
        gamma: float,
        class_label: int = -1,
        spacing: str = "model",
    ) -> io.NodeOutput:
        check_choice("method", method, get_args(Method))
        label, own = None if class_label == -1 else class_label, chosen_spacing(spacing)
        noise, apart = invert(model, latent, method, steps, gamma, label, spacing, own)
        lines = [f"Drawn again, the pictures differ by {apart:.2g} (root mean square, in -1..1)."]
        return io.NodeOutput(noise, ui={"text": lines})
