"""From a MODEL to a MODEL with timesteps that suit it in few steps."""

import time

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..host.drawing import Drawing
from ..host.our_model import own_schedule, with_schedule
from ..host.page import Ui
from ..host.run_report import REPORTS
from ..schedulers.optimise import Checked, evaluations, optimise
from .inputs import CATEGORY, class_label_input, model_input


class UnconditionalOptimiseTimesteps(io.ComfyNode):
    """Optimise Timesteps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalOptimiseTimesteps",
            display_name="Optimise Timesteps",
            category=CATEGORY,
            description="Finds the best timesteps for drawing with this model in few steps, by "
            "trying them. The samplers use them with the spacing 'optimised'. Save "
            "Unconditional UNet saves them with the model, so you only need to do this once.",
            search_aliases=["ays", "align your steps", "few steps", "gits", "sigmas", "spacing"],
            **REPORTS,
            inputs=[
                model_input(),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=False,  # another seed would find other lists
                    tooltip="The seed of the first image to draw. The lists are checked on as many "
                    "other images, with the seeds that follow.",
                ),
                io.Int.Input(
                    "images",
                    default=32,
                    min=4,
                    max=4096,
                    tooltip="How many images to draw in each trial. More take longer and give "
                    "slightly better lists; 32 are usually enough.",
                ),
                io.Int.Input(
                    "teacher_evaluations",
                    default=60,
                    min=20,
                    max=1000,
                    tooltip="The target is the images drawn with this many steps.",
                    advanced=True,
                ),
                io.Boolean.Input(
                    "refine",
                    default=False,
                    tooltip="Afterwards moves each timestep on its own, for 4 to 10 steps. The "
                    "images come closer by about a tenth; it takes about four times as long.",
                ),
                class_label_input(),
            ],
            outputs=[
                io.Model.Output(
                    tooltip="The model with these lists, for samplers with the spacing 'optimised'."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        seed: int,
        images: int,
        teacher_evaluations: int,
        refine: bool,
        class_label: int = -1,
    ) -> io.NodeOutput:
        config, started = own_schedule(model), time.perf_counter()
        calls = evaluations(config, teacher_evaluations, refine=refine)
        draw = Drawing(model, seed, images, class_label, calls)
        config, checked = optimise(config, draw, teacher=teacher_evaluations, refine=refine)
        seconds = time.perf_counter() - started
        return io.NodeOutput(with_schedule(model, config), ui=_report(checked, seconds, images))


def _report(checked: list[Checked], seconds: float, images: int) -> Ui:
    lines = [
        f"Found in {seconds:.0f} s. Typical distance to the image of many steps, on {images} other "
        "seeds:"
    ]
    lines += [f"{c.steps} steps: {c.optimised:.4f} (power: {c.power:.4f})" for c in checked]
    return {"text": lines}
