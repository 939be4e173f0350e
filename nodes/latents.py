"""The inputs, in addition to a MODEL, that ComfyUI's own samplers need."""

from typing import Any, get_args

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..host.latents import empty_latent
from ..host.our_model import check_size, unconditional_model
from ..pictures.images import image_to_latent, to_channels
from ..pictures.resizing import Fit, resize
from ..schedulers.errors import check_choice
from .inputs import batch_size_input

_LARGEST_SIDE = 16384


class UnconditionalEmptyLatent(io.ComfyNode):
    """Empty Pixel Latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalEmptyLatent",
            display_name="Empty Pixel Latent",
            category="unconditional",
            description="Creates empty images of the model's size and channels for KSampler and "
            "ComfyUI's other samplers. This pack's samplers need it only for sizes other "
            "than the model's.",
            search_aliases=["empty latent", "pixel diffusion", "unconditional latent"],
            inputs=[
                io.Model.Input("model", tooltip="A model from Load Unconditional UNet."),
                _side("width"),
                _side("height"),
                batch_size_input(),
            ],
            outputs=[io.Latent.Output(tooltip="All zeros, for a sampler's latent_image.")],
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, width: int, height: int, batch_size: int
    ) -> io.NodeOutput:
        if min(width, height) < 0 or batch_size < 1:
            raise ValueError(
                f"width and height must be 0 or more and batch_size 1 or more, not {width}, "
                f"{height} and {batch_size}."
            )
        return io.NodeOutput(empty_latent(model, batch_size, height, width))


class UnconditionalConditioning(io.ComfyNode):
    """Empty Conditioning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalConditioning",
            display_name="Empty Conditioning",
            category="unconditional",
            description="An empty conditioning for KSampler's positive and negative, for models "
            "that take no prompt. Leave cfg at 1: any other value takes twice the time for the "
            "same image.",
            search_aliases=["no prompt", "unconditional", "zero conditioning"],
            inputs=[],
            outputs=[io.Conditioning.Output(tooltip="For both positive and negative of KSampler.")],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput([[torch.zeros(1, 1, 1), {}]])


class UnconditionalImageToLatent(io.ComfyNode):
    """Image to Pixel Latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="UnconditionalImageToLatent",
            display_name="Image to Pixel Latent",
            category="unconditional",
            description="Converts an IMAGE to pixels of the model's size and channels, as VAE "
            "Encode does for models with a VAE.",
            search_aliases=["vae encode", "image to image", "img2img", "pixel diffusion"],
            inputs=[
                io.Image.Input("image", tooltip="One image or a batch."),
                io.Model.Input(
                    "model",
                    tooltip="A model from Load Unconditional UNet. Sets the size and channels.",
                ),
                io.Combo.Input(
                    "fit",
                    options=list(get_args(Fit)),
                    tooltip="crop: cut out the centre in the model's proportions, then resize. "
                    "stretch: resize the whole image. keep size: do neither, to sample at another "
                    "size. An image of the right size is never resampled.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="For a sampler's latent_image, with denoise < 1.")],
        )

    @classmethod
    def execute(cls, image: Tensor, model: ModelPatcher, fit: Any) -> io.NodeOutput:
        check_choice("fit", fit, get_args(Fit))
        config = unconditional_model(model).unet_config
        height, width = image.shape[1:3] if fit == "keep size" else config.size
        check_size(model, height, width)
        resized = resize(image, height, width, fit)
        return _latent(image_to_latent(to_channels(resized, config.in_channels)))


def _side(name: str) -> Any:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=_LARGEST_SIDE,
        tooltip="In pixels. 0 is the model's own size; other sizes give poor images.",
    )


def _latent(samples: Tensor) -> io.NodeOutput:
    return io.NodeOutput({"samples": samples.to(comfy.model_management.intermediate_device())})
