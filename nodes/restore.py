"""From a MODEL and an IMAGE to a MODEL whose pictures agree with the image."""

from typing import Any, get_args

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..host.restoration import Task, restore
from ..schedulers.errors import check_choice
from .inputs import CATEGORY, model_input


class UnconditionalRestore(io.ComfyNode):
    """Restore."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalRestore",
            display_name="Restore",
            category=CATEGORY,
            description="Enlarges a picture, adds colour, fills holes, or draws a new one with "
            "the same layout. Every sampler then draws pictures that agree with it exactly, and "
            "the model invents the rest: each seed gives another version.",
            search_aliases=[
                *("colorize", "ddnm", "ilvr", "inpaint", "super resolution", "upscale"),
            ],
            inputs=[
                model_input(),
                io.Image.Input(
                    "image",
                    tooltip="What is known. For the enlarge tasks the small picture; otherwise a "
                    "picture of the size to draw. The images of a batch are used in turn.",
                ),
                io.Combo.Input(
                    "task",
                    options=list(get_args(Task)),
                    tooltip="enlarge: the image is a small version of the picture. colour: it is a "
                    "grey version. holes: it is the picture outside the mask. layout: the "
                    "result has its coarse colours, block by block.",
                ),
                io.Float.Input(
                    "noise",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The standard deviation of the image's noise, in 0..1 (0.1 is 25 of "
                    "255). 0 keeps the image exactly. Above 0, the image is used only while "
                    "the sampler's own noise is stronger.",
                ),
                io.Float.Input(
                    "until",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="The part of the noise schedule, from its start, in which the image is "
                    "used. 1: to the end. For layout about 0.6: the model then finishes the "
                    "picture freely.",
                ),
                io.Int.Input(
                    "block_size",
                    default=8,
                    min=1,
                    max=512,
                    tooltip="For layout: the side, in pixels, of the blocks whose mean colours are "
                    "kept. Large blocks keep less of the image.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White where the image is not known. 'holes' needs it; the other tasks "
                    "accept it too.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model with the image, for any sampler.")],
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, image: Tensor, task: Any, mask: Tensor | None = None, **how: Any
    ) -> io.NodeOutput:
        check_choice("task", task, get_args(Task))
        return io.NodeOutput(restore(model, image, task, mask=mask, **how))
