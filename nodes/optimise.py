"""From a MODEL to a MODEL that knows which timesteps to visit in few steps."""

import time

import comfy.utils
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..host.latents import empty_latent
from ..host.model import own_schedule, unconditional_model, with_schedule
from ..host.page import Ui
from ..host.run_report import REPORTS
from ..host.sampling import run_sampler
from ..schedulers.errors import UserError
from ..schedulers.optimise import Checked, evaluations, optimise
from ..schedulers.pndm import PNDM
from .inputs import CATEGORY, class_label_input, model_input


class UnconditionalOptimiseTimesteps(io.ComfyNode):
    """Optimise Timesteps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalOptimiseTimesteps",
            display_name="Optimise Timesteps",
            category=CATEGORY,
            description="Finds the timesteps with which this model draws best in few steps, by "
            "drawing. The spacing 'optimised' of the samplers then uses them. Save Unconditional "
            "UNet saves them with the model, so that once is enough.",
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
                    "others, with the seeds that follow.",
                ),
                io.Int.Input(
                    "images",
                    default=32,
                    min=4,
                    max=4096,
                    tooltip="How many images to draw, again and again. More take longer and give "
                    "slightly better lists; 32 are usually enough.",
                ),
                io.Int.Input(
                    "teacher_evaluations",
                    default=60,
                    min=20,
                    max=1000,
                    tooltip="The images of this many steps are the ones to come close to.",
                    advanced=True,
                ),
                io.Boolean.Input(
                    "refine",
                    default=False,
                    tooltip="Then moves each timestep alone, for 4 to 10 steps. The images come "
                    "closer by about a tenth; it takes about four times as long.",
                ),
                class_label_input(),
            ],
            outputs=[
                io.Model.Output(
                    tooltip="The model with its lists, for samplers with the spacing 'optimised'."
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
        draw = _Drawing(model, seed, images, class_label, calls)
        config, checked = optimise(config, draw, teacher=teacher_evaluations, refine=refine)
        seconds = time.perf_counter() - started
        return io.NodeOutput(with_schedule(model, config), ui=_report(checked, seconds, images))


class _Drawing:
    """Draws the same images with one sampler after another, with one progress bar for all."""

    def __init__(
        self, model: ModelPatcher, seed: int, images: int, class_label: int, evaluations: int
    ):
        self._model, self._seed, self._images = model, seed, images
        self._label = None if class_label == -1 else class_label
        self._latent = empty_latent(unconditional_model(model).unet_config, images)
        self._bar = comfy.utils.ProgressBar(evaluations)

    def __call__(self, sampler: PNDM, held_back: bool) -> Tensor:
        seed = self._seed + (self._images if held_back else 0)
        sampled = run_sampler(
            self._model,
            sampler,
            self._latent,
            seed,
            "noise",
            self._label,
            callback=lambda *_: self._bar.update(1),
        )
        if sampled.lost:
            raise UserError(
                f"With the seeds {', '.join(map(str, sampled.lost[:10]))} this model draws NaN or "
                "infinite values, so no timesteps can be found. Choose another seed, or dtype "
                "float32 in the loader."
            )
        return sampled.latent["samples"]


def _report(checked: list[Checked], seconds: float, images: int) -> Ui:
    lines = [
        f"Found in {seconds:.0f} s. Typical distance to the image of many steps, on {images} other "
        "seeds:"
    ]
    lines += [f"{c.steps} steps: {c.optimised:.4f} (power: {c.power:.4f})" for c in checked]
    return {"text": lines}
