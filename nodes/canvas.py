"""From a MODEL to a MODEL that tiles, or draws in windows; and a node to check the seam."""

from typing import Any, get_args

import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..host.our_model import with_canvas, with_windows
from ..networks.edges import Directions
from ..schedulers.errors import check_choice
from .inputs import CATEGORY, model_input

_WRAPS = ("none", "both", "x", "y")


class UnconditionalSeamlessTiling(io.ComfyNode):
    """Seamless Tiling."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalSeamlessTiling",
            display_name="Seamless Tiling",
            category=CATEGORY,
            description="Makes a model draw images that tile, for textures and wallpaper: each "
            "convolution sees the opposite edge instead of a border. It takes no extra "
            "evaluations, and works in this pack's samplers and in ComfyUI's.",
            search_aliases=[
                "circular padding",
                "seamless texture",
                "tileable",
                "wallpaper",
                "wrap",
            ],
            inputs=[
                model_input(),
                io.Combo.Input(
                    "directions",
                    options=list(get_args(Directions)),
                    tooltip="Where images tile: both, x (left and right), y (top and bottom), or "
                    "none.",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model that draws so. The input is not changed.")],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, directions: Any) -> io.NodeOutput:
        check_choice("directions", directions, get_args(Directions))
        return io.NodeOutput(with_canvas(model, seamless=directions))


class UnconditionalWindows(io.ComfyNode):
    """Windows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalWindows",
            display_name="Windows",
            category=CATEGORY,
            description="Makes a model draw images larger than its own: each evaluation covers the "
            "image with overlapping windows of the model's size and blends them. Memory "
            "depends on the window, time on the number of windows.",
            search_aliases=["any size", "large image", "mixture of diffusers", "multidiffusion"],
            inputs=[
                model_input(),
                io.Int.Input(
                    "window",
                    default=0,
                    min=0,
                    max=16384,
                    tooltip="The side of a window in pixels. 0 is the size that the model was "
                    "trained at. A smaller image is evaluated as a whole.",
                ),
                io.Float.Input(
                    "overlap",
                    default=0.25,
                    min=0.0,
                    max=0.9,
                    step=0.05,
                    round=False,
                    tooltip="The part of a window that it shares with the next. More blends better "
                    "and takes longer.",
                ),
                io.Combo.Input(
                    "wrap",
                    options=list(_WRAPS),
                    tooltip="Where windows continue over the image's edges, so that it tiles: "
                    "none, both, x (left and right) or y (top and bottom).",
                ),
            ],
            outputs=[io.Model.Output(tooltip="The model that draws so. The input is not changed.")],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, window: int, overlap: float, wrap: Any) -> io.NodeOutput:
        check_choice("wrap", wrap, _WRAPS)
        return io.NodeOutput(with_windows(model, window, overlap, wrap))


class UnconditionalOffsetImage(io.ComfyNode):
    """Offset Image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalOffsetImage",
            display_name="Offset Image",
            category=CATEGORY,
            description="Rolls an image: pixels that leave it at one edge enter at the opposite "
            "one. At 0.5 the seam of a tile is in the middle, where you can see it.",
            search_aliases=["offset", "roll", "seam", "seamless", "shift", "tileable"],
            inputs=[
                io.Image.Input("image", tooltip="One image or a batch, of any size."),
                _part("x", "to the right, as a fraction of its width"),
                _part("y", "down, as a fraction of its height"),
            ],
            outputs=[io.Image.Output(tooltip="The rolled image, of the same size.")],
        )

    @classmethod
    def execute(cls, image: Tensor, x: float, y: float) -> io.NodeOutput:
        height, width = image.shape[1:3]
        shifts = round(y * height), round(x * width)
        return io.NodeOutput(torch.roll(image, shifts, dims=(1, 2)))


def _part(name: str, how: str) -> Any:
    return io.Float.Input(
        name,
        default=0.5,
        min=-1.0,
        max=1.0,
        step=0.05,
        round=False,
        tooltip=f"How far to roll the image {how}.",
    )
