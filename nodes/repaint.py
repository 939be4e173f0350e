"""From a MODEL and a masked LATENT to a LATENT: RePaint."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.repaint import repaint
from ..host.run_report import REPORTS
from ..schedulers.errors import check_choice
from ..schedulers.repaint import PRESETS, RePaint
from .inputs import (
    CATEGORY,
    class_label_input,
    latent_output,
    model_input,
    noise_input,
    seed_input,
    spacing_input,
    steps_input,
)
from .sample import SamplerNode

_CUSTOM = "custom"


def _presets() -> dict[str, dict[str, Any]]:
    """Return the inputs that each preset sets; the editor's page reads them too."""
    names = ("steps", "jump_length", "resamplings")
    return {name: dict(zip(names, values, strict=True)) for name, values in PRESETS.items()}


class UnconditionalRePaintSampler(SamplerNode):
    """RePaint Sampler."""

    SAMPLER = RePaint
    SETTINGS = ("jump_length", "resamplings", "eta")
    RUN = staticmethod(repaint)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalRePaintSampler",
            display_name="RePaint Sampler",
            category=CATEGORY,
            description="Fills the masked part of a picture, or draws around it (Lugmayr et "
            "al., CVPR 2022). It jumps back again and again, so the new part fits the known one "
            "better than with a mask in the other samplers. Shows before Run how many "
            "evaluations that takes.",
            search_aliases=["diffusers", "fill holes", "inpaint", "outpaint", "unconditional"],
            inputs=[
                model_input(),
                io.Latent.Input(
                    "latent",
                    tooltip="The picture, with a mask that is white where the sampler should draw: "
                    "from 'Image to Pixel Latent' and 'Set Latent Noise Mask'. Where the "
                    "mask is black, the picture stays exactly the same. Image k uses seed + "
                    "batch_index[k].",
                ),
                seed_input(),
                io.Combo.Input(
                    "preset",
                    options=[*PRESETS, _CUSTOM],
                    tooltip="Sets steps, jump_length and resamplings together. The node shows how "
                    "many evaluations they take. custom: use the numbers below.",
                    extra_dict={"presets": _presets()},
                ),
                steps_input(
                    PRESETS["draft"][0],
                    "Steps through the schedule. Steps below a jump run several times. Used "
                    "with the preset custom.",
                ),
                io.Int.Input(
                    "jump_length",
                    default=PRESETS["draft"][1],
                    min=1,
                    max=10000,
                    tooltip="How many steps each jump goes back. If it is the number of steps or "
                    "more, there are no jumps. Used with the preset custom.",
                ),
                io.Int.Input(
                    "resamplings",
                    default=PRESETS["draft"][2],
                    min=1,
                    max=1000,
                    tooltip="How often each stretch of jump_length steps runs. More take more "
                    "evaluations. 1: no jumps. Used with the preset custom.",
                ),
                io.Float.Input(
                    "eta",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much new noise each step adds. 1, as in the paper, fits better in "
                    "our measurements; 0 is the default of diffusers.",
                ),
                class_label_input(),
                spacing_input(),
                noise_input(),
            ],
            outputs=latent_output(),
            **REPORTS,
        )

    @classmethod
    def execute(cls, model: ModelPatcher, preset: str, **inputs: Any) -> io.NodeOutput:
        check_choice("preset", preset, [*PRESETS, _CUSTOM])
        return super().execute(model, **inputs | _presets().get(preset, {}))
